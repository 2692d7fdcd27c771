# Ask why a machine gets what it gets.
grpcurl $TLS -d '{"query": {"machine": "52:54:00:a1:9c:ae"}}' $SERVER matchd.v1.Boot/Explain

# See its script, its config, and which document each part comes from.
grpcurl $TLS -d '{"query": {"machine": "52:54:00:a1:9c:ae"}, "provenance": true}' $SERVER matchd.v1.Boot/Render

# Play its boot, as the server would answer now. No machine, lease or timeline notices.
grpcurl $TLS -d '{"mac": "52:54:00:a1:9c:ae", "firmware": "ovmf"}' $SERVER matchd.v1.Boot/Simulate
