# Put a Butane document; bytes are base64 in JSON.
content=$(base64 -w0 <<'END'
variant: fcos
version: 1.5.0
storage:
  files:
    - path: /etc/hostname
      contents: {inline: '{{.name}}'}
END
)
grpcurl $TLS -d '{"template": {"kind": "ignition", "name": "worker.bu", "content": "'$content'"}}' $SERVER matchd.v1.Templates/PutTemplate

# List names without contents.
grpcurl $TLS -d '{"names_only": true}' $SERVER matchd.v1.Templates/ListTemplates
