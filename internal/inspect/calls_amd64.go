package inspect

// waitCalls are epoll_wait, epoll_pwait and epoll_pwait2.
func waitCalls() []int64 { return []int64{232, 281, 441} }
