//go:build !linux

package batch

// ReceiveBuffer and Lost are not told here.
func (s *Socket) ReceiveBuffer() (granted int, ok bool) { return 0, false }

// Lost is not told here.
func (s *Socket) Lost() (packets uint32, ok bool) { return 0, false }
