# List a directory of assets.
grpcurl $TLS -d '{"path": ""}' $SERVER matchd.v1.Assets/ListAssets
