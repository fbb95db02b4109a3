/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The system calls that are followed, by this architecture's numbers (asm/unistd.h; uapi, so they never change). */
#ifndef EPWATCH_SYSCALLS_H
#define EPWATCH_SYSCALLS_H

#include "event.h"

static __always_inline __u8 call_of(long number)
{
	switch (number) {
#if defined(__TARGET_ARCH_x86)
	case 0: return CALL_READ;
	case 1: return CALL_WRITE;
	case 3: return CALL_CLOSE;
	case 19: return CALL_READV;
	case 20: return CALL_WRITEV;
	case 32: return CALL_DUP;
	case 33: return CALL_DUP2;
	case 40: return CALL_SENDFILE;
	case 42: return CALL_CONNECT;
	case 43: return CALL_ACCEPT;
	case 44: return CALL_SENDTO;
	case 45: return CALL_RECVFROM;
	case 46: return CALL_SENDMSG;
	case 47: return CALL_RECVMSG;
	case 48: return CALL_SHUTDOWN;
	case 72: return CALL_FCNTL;
	case 213: return CALL_EPOLL_CREATE;
	case 232: return CALL_EPOLL_WAIT;
	case 233: return CALL_EPOLL_CTL;
	case 275: return CALL_SPLICE;
	case 281: return CALL_EPOLL_PWAIT;
	case 288: return CALL_ACCEPT4;
	case 291: return CALL_EPOLL_CREATE1;
	case 292: return CALL_DUP3;
	case 299: return CALL_RECVMMSG;
	case 307: return CALL_SENDMMSG;
	case 327: return CALL_PREADV2;
	case 328: return CALL_PWRITEV2;
#elif defined(__TARGET_ARCH_arm64)
	case 20: return CALL_EPOLL_CREATE1;
	case 21: return CALL_EPOLL_CTL;
	case 22: return CALL_EPOLL_PWAIT;
	case 23: return CALL_DUP;
	case 24: return CALL_DUP3;
	case 25: return CALL_FCNTL;
	case 57: return CALL_CLOSE;
	case 63: return CALL_READ;
	case 64: return CALL_WRITE;
	case 65: return CALL_READV;
	case 66: return CALL_WRITEV;
	case 71: return CALL_SENDFILE;
	case 76: return CALL_SPLICE;
	case 202: return CALL_ACCEPT;
	case 203: return CALL_CONNECT;
	case 206: return CALL_SENDTO;
	case 207: return CALL_RECVFROM;
	case 210: return CALL_SHUTDOWN;
	case 211: return CALL_SENDMSG;
	case 212: return CALL_RECVMSG;
	case 242: return CALL_ACCEPT4;
	case 243: return CALL_RECVMMSG;
	case 269: return CALL_SENDMMSG;
	case 286: return CALL_PREADV2;
	case 287: return CALL_PWRITEV2;
#endif
	case 426: return CALL_IO_URING_ENTER;
	case 436: return CALL_CLOSE_RANGE;
	case 441: return CALL_EPOLL_PWAIT2;
	default: return CALL_NONE;
	}
}

#endif
