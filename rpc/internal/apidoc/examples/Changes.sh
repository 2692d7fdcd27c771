# See what a profile and a group for workers would change, for machines as well.
cat > worker.json <<'END'
{
  "changes": [
    {"put": {"profile": {"id": "worker", "boot": {"kernel": "/assets/vmlinuz", "initrd": ["/assets/initrd.img"],
      "args": ["ignition.config.url=${matchd:config-url}"]}, "ignition_id": "worker.bu"}}},
    {"put": {"group": {"id": "workers", "profile": "worker", "selector": {"role": "worker"}, "metadata": {"name": "n1"}}}}
  ],
  "dry_run": true, "compare_machines": 100
}
END
grpcurl $TLS -d @ $SERVER matchd.v1.Changes/Apply < worker.json

# Make both changes in one revision.
sed 's/"dry_run": true/"dry_run": false/' worker.json | grpcurl $TLS -d @ $SERVER matchd.v1.Changes/Apply

# Follow the groups for two seconds; grpcurl then ends with DEADLINE_EXCEEDED.
grpcurl $TLS -max-time 2 -d '{"kinds": ["KIND_GROUP"]}' $SERVER matchd.v1.Changes/Watch || test $? -eq 68
