// Package epwatch tells people why their epoll server hangs, leaks, spins or resets.
//
// It records what the kernel did (wakeups of epoll items, bytes received and left unread, TCP states, resets) and what
// the program did (epoll_ctl, epoll_wait, read, write, accept, close), joins the two per open file, shows the live
// timeline, and gives verdicts with evidence. The command is in cmd/epwatch, the kernel's side in bpf and tracer, the
// documented example servers in server, and what the events mean in internal.
package epwatch

//go:generate go tool -modfile=tools/go.mod bpf2go -cc clang-19 -strip llvm-strip-19 -no-global-types -go-package tracer -output-dir tracer -target amd64,arm64 -type call_event -type sock_event -type packet_event -type deliver_event -type sched_event -type sched_stack_event -type stack -type turn -type turn_stacks -type listed_file -type known_sock -type instance -type port_key -type call epwatch bpf/epwatch.bpf.c -- -Ibpf -mcpu=v2 -Wall -Werror
