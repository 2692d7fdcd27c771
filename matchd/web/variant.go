package web

// Variant returns a server that serves the same with some options changed. It has nothing in common with s that changes, unless an option has.
func (s *Server) Variant(change func(*Options)) (*Server, error) {
	o := s.o
	change(&o)
	return New(o)
}
