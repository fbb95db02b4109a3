package timeline

import "testing"

func TestClosedInstanceHasNoItems(t *testing.T) {
	s, f, i := connected(t, etMask)
	s.close(4, 0xee)
	if !i.Ended || !i.Epoll.Ended || len(f.Interests) != 0 {
		t.Errorf("after the close of its instance the item is %+v", i)
	}
	s.create()
	if i.Epoll == s.tl.epolls[epollAddr] {
		t.Error("a new instance at the old address is the old one")
	}
}
