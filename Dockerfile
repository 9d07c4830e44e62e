# The base of both stages. To build the same image again tomorrow, pin it by digest:
#   docker build --build-arg PYTHON_IMAGE=docker.io/library/python:3.13-slim-bookworm@sha256:<digest> .
# `docker buildx imagetools inspect python:3.13-slim-bookworm` prints the digest.
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-bookworm


FROM ${PYTHON_IMAGE} AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_NO_COMPILE=1 \
    PIP_ROOT_USER_ACTION=ignore

WORKDIR /build

# Behind a mirror or a company's own authority: --secret id=pip,src=$HOME/.config/pip/pip.conf; it is not stored in the image.
COPY requirements.txt requirements-build.txt ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install --require-hashes --no-deps --only-binary=:all: --requirement requirements-build.txt \
    && python -m venv --without-pip /opt/modelarts-exporter \
    && pip --python /opt/modelarts-exporter/bin/python install \
        --require-hashes --no-deps --only-binary=:all: --requirement requirements.txt

COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
RUN python -m hatchling build --target wheel --directory dist \
    && pip --python /opt/modelarts-exporter/bin/python install --no-index --no-deps dist/*.whl

# A read-only root cannot keep bytecode, and the base image ships the standard library without any, so all of it is
# compiled here, once. Hashes instead of times: a file's time may change on its way through a registry.
ENV PYTHONPYCACHEPREFIX=/opt/modelarts-exporter/pycache
RUN python -m compileall -q --invalidation-mode unchecked-hash \
        -x '/(site-packages|idlelib|lib2to3|ensurepip|turtledemo|test|tests)/' \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/modelarts-exporter/lib


FROM ${PYTHON_IMAGE}

COPY --from=build /opt/modelarts-exporter /opt/modelarts-exporter

# The demo listens on loopback by default, which cannot be reached from outside a container; a flag overrides this.
ENV PATH=/opt/modelarts-exporter/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPYCACHEPREFIX=/opt/modelarts-exporter/pycache \
    PYTHONUNBUFFERED=1 \
    MODELARTS_EXPORTER_WEB_LISTEN_ADDRESS=:10310

USER 65532:65532
EXPOSE 10310
STOPSIGNAL SIGTERM
ENTRYPOINT ["modelarts-exporter"]
CMD ["serve", "--config.file=/etc/modelarts-exporter/config.yaml"]

ARG PYTHON_IMAGE
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="modelarts-exporter" \
      org.opencontainers.image.description="Prometheus exporter for ModelArts training jobs on Huawei Cloud and Open Telekom Cloud" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/modelarts-exporter/modelarts-exporter" \
      org.opencontainers.image.documentation="https://github.com/modelarts-exporter/modelarts-exporter/blob/main/docs/docker.md" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
