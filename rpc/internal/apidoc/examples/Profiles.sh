# Put a profile.
grpcurl $TLS -d '{"profile": {"id": "disk", "name": "boots from its disk"}}' $SERVER matchd.v1.Profiles/PutProfile

# Get it, with its revision.
grpcurl $TLS -d '{"id": "disk"}' $SERVER matchd.v1.Profiles/GetProfile
