{{/* Mount directory of the web configuration; each part has its own subdirectory. */}}
{{- define "modelarts-exporter.webFolder" -}}/etc/modelarts-exporter-web{{- end -}}

{{/* The Secret with the web configuration; empty when there is none. */}}
{{- define "modelarts-exporter.webSecret" -}}
{{- if .Values.web.configSecret -}}
{{- .Values.web.configSecret -}}
{{- else if or .Values.web.tls.existingSecret .Values.web.basicAuth.users -}}
{{- include "modelarts-exporter.fullname" . }}-web
{{- end -}}
{{- end -}}

{{- define "modelarts-exporter.scheme" -}}
{{- ternary "https" "http" (not (empty .Values.web.tls.existingSecret)) -}}
{{- end -}}

{{- define "modelarts-exporter.serverName" -}}
{{- .Values.web.tls.serverName | default (printf "%s.%s.svc" (include "modelarts-exporter.fullname" .) .Release.Namespace) -}}
{{- end -}}

{{/* The web configuration, as JSON for the same reason as the settings. */}}
{{- define "modelarts-exporter.webConfig" -}}
{{- $file := dict -}}
{{- with .Values.web.tls -}}
{{- if .existingSecret -}}
{{- $folder := printf "%s/tls" (include "modelarts-exporter.webFolder" $) -}}
{{- $tls := dict "cert_file" (printf "%s/tls.crt" $folder) "key_file" (printf "%s/tls.key" $folder) "min_version" .minVersion -}}
{{- if ne .clientAuthType "NoClientCert" -}}
{{- $_ := set $tls "client_auth_type" .clientAuthType -}}
{{- $_ := set $tls "client_ca_file" (printf "%s/ca.crt" $folder) -}}
{{- end -}}
{{- $_ := set $file "tls_server_config" $tls -}}
{{- end -}}
{{- end -}}
{{- with .Values.web.basicAuth.users -}}
{{- $_ := set $file "basic_auth_users" . -}}
{{- end -}}
{{- toPrettyJson $file -}}
{{- end -}}

{{/* "true" if clients must authenticate, which the kubelet cannot. */}}
{{- define "modelarts-exporter.requiresAuthentication" -}}
{{- if or .Values.web.basicAuth.clientSecret (eq .Values.web.tls.clientAuthType "RequireAndVerifyClientCert") -}}true{{- end -}}
{{- end -}}

{{/* The handler of a probe; takes a dict of `root` and `path`. */}}
{{- define "modelarts-exporter.probe" -}}
{{- if include "modelarts-exporter.requiresAuthentication" .root -}}
# The kubelet has no certificate, and a password in httpGet would be readable in the pod spec.
exec:
  command:
    - python3
    - -I
    - -c
    - |
      {{- include "modelarts-exporter.ask" . | nindent 6 }}
      status = ask(sys.argv[2], timeout=60).status
      if status != 200:
          sys.exit(f"{sys.argv[1]}{sys.argv[2]}: {status}")
    - {{ include "modelarts-exporter.scheme" .root }}://127.0.0.1:{{ int .root.Values.web.port }}
    - {{ .path }}
    - ""
    - {{ include "modelarts-exporter.webFolder" .root }}
{{- else -}}
httpGet:
  path: {{ .path }}
  port: http
  {{- if .root.Values.web.tls.existingSecret }}
  scheme: HTTPS
  {{- end }}
{{- end -}}
{{- end -}}

{{/*
The part of a Python program that sends a request to the exporter, because the image has no other HTTP client. Its arguments
are the URL, a path, the expected name in the certificate (empty: any, for the pod itself) and the directory of secrets.
*/}}
{{- define "modelarts-exporter.ask" -}}
import base64, http.client, os, ssl, sys
from urllib.parse import urlsplit

url, name, folder = urlsplit(sys.argv[1]), sys.argv[3], sys.argv[4]

def tls():
    authority, client = os.path.join(folder, "authority/ca.crt"), os.path.join(folder, "client")
    if name:
        context = ssl.create_default_context(cafile=authority if os.path.exists(authority) else None)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if os.path.isdir(client):
        context.load_cert_chain(os.path.join(client, "tls.crt"), os.path.join(client, "tls.key"))
    return context

def secret(key):
    with open(os.path.join(folder, "login", key), "rb") as file:
        return file.read()

def ask(path, timeout):
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=timeout)
    connection.connect()
    if url.scheme == "https":
        connection.sock = tls().wrap_socket(connection.sock, server_hostname=name or None)
    headers = {}
    if os.path.isdir(os.path.join(folder, "login")):
        login = base64.b64encode(secret("username") + b":" + secret("password"))
        headers["Authorization"] = "Basic " + login.decode()
    connection.request("GET", path, headers=headers)
    return connection.getresponse()
{{ end -}}

{{/* Volumes with the credentials of a client: login and certificate. Takes the root. */}}
{{- define "modelarts-exporter.clientVolumes" -}}
{{- with .Values.web.basicAuth.clientSecret }}
- name: web-login
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.web.tls.clientSecret }}
- name: web-client
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{- define "modelarts-exporter.clientMounts" -}}
{{- if .Values.web.basicAuth.clientSecret }}
- name: web-login
  mountPath: {{ include "modelarts-exporter.webFolder" . }}/login
  readOnly: true
{{- end }}
{{- if .Values.web.tls.clientSecret }}
- name: web-client
  mountPath: {{ include "modelarts-exporter.webFolder" . }}/client
  readOnly: true
{{- end }}
{{- end -}}
