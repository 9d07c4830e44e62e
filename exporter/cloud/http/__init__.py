"""One API call: everything between an endpoint and its decoded response, except the credential."""
