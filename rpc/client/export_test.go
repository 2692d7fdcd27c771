package client

// Translate makes an error of what gRPC returned.
func Translate(err error) error { return (&link{endpoint: "test:1"}).translate("/test", err) }
