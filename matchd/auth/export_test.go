package auth

// DecodeTicket is decodeTicket, for tests.
func DecodeTicket(raw []byte) (Ticket, error) { return decodeTicket(raw) }

// Encode is encode, for tests.
func (t *Ticket) Encode() []byte { return t.encode() }
