# Ask how the server does, and as whom it knows you.
grpcurl $TLS $SERVER matchd.v1.Status/GetStatus

# List the services, and describe a method.
grpcurl $TLS $SERVER list
grpcurl $TLS $SERVER describe matchd.v1.Groups.PutGroup
