# Put a group, but only if there is none of this id yet.
grpcurl $TLS -d '{"group": {"id": "installed", "profile": "disk", "selector": {"os": "installed"}}, "revision": 0}' $SERVER matchd.v1.Groups/PutGroup

# List the groups that select by a label.
grpcurl $TLS -d '{"labels": {"os": "installed"}, "page_size": 100}' $SERVER matchd.v1.Groups/ListGroups
