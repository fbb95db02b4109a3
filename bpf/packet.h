/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* TCP segments of traced connections, headers only. */
#ifndef EPWATCH_PACKET_H
#define EPWATCH_PACKET_H

#include "socket.h"

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD

/* The fixed parts of the headers, in wire order (RFC 791, 8200, 9293). */
struct ipv4_header {
	__u8 version_length;
	__u8 tos;
	__be16 total_length;
	__u8 middle[5];
	__u8 protocol;
	__be16 checksum;
	__u8 source[4];
	__u8 destination[4];
};

struct ipv6_header {
	__u8 version[4];
	__be16 payload_length;
	__u8 next_header;
	__u8 hop_limit;
	__u8 source[16];
	__u8 destination[16];
};

struct tcp_header {
	__be16 source;
	__be16 destination;
	__be32 seq;
	__be32 ack;
	__u8 offset;
	__u8 flags;
	__be16 window;
};

static __always_inline bool is_traced(struct sk_buff *skb, __u32 netns, __u16 sport, __u16 dport)
{
	struct port_key key = { .netns = netns, .port = sport };
	__u64 sk = (__u64)READ(skb, sk);

	if (bpf_map_lookup_elem(&ports, &key))
		return 1;
	key.port = dport;
	if (bpf_map_lookup_elem(&ports, &key))
		return 1;
	return sk && bpf_map_lookup_elem(&socks, &sk);
}

/* network: the start of the IP header. Extension headers of IPv6 are not walked: TCP behind one is not shown. */
static __always_inline int segment(struct sk_buff *skb, unsigned char *network)
{
	struct packet_event *e;
	struct tcp_header tcp;
	unsigned char *transport;
	__u8 source[16] = {}, destination[16] = {};
	__u32 length, netns;
	__u16 family;

	if (READ(skb, protocol) == bpf_htons(ETH_P_IP)) {
		struct ipv4_header ip;

		if (bpf_probe_read_kernel(&ip, sizeof(ip), network) || ip.protocol != IPPROTO_TCP)
			return 0;
		family = AF_INET;
		transport = network + (ip.version_length & 0xf) * 4;
		length = bpf_ntohs(ip.total_length) - (ip.version_length & 0xf) * 4;
		/* A batch above 64 KiB (BIG TCP) leaves the field empty. */
		if (!ip.total_length)
			length = READ(skb, len) - (transport - READ(skb, data));
		__builtin_memcpy(source, ip.source, 4);
		__builtin_memcpy(destination, ip.destination, 4);
	} else if (READ(skb, protocol) == bpf_htons(ETH_P_IPV6)) {
		struct ipv6_header ip;

		if (bpf_probe_read_kernel(&ip, sizeof(ip), network) || ip.next_header != IPPROTO_TCP)
			return 0;
		family = AF_INET6;
		transport = network + sizeof(ip);
		length = bpf_ntohs(ip.payload_length);
		if (!ip.payload_length)
			length = READ(skb, len) - (transport - READ(skb, data));
		__builtin_memcpy(source, ip.source, 16);
		__builtin_memcpy(destination, ip.destination, 16);
	} else {
		return 0;
	}
	if (bpf_probe_read_kernel(&tcp, sizeof(tcp), transport))
		return 0;
	netns = READ(skb, dev, nd_net.net, ns.inum);
	if (!is_traced(skb, netns, bpf_ntohs(tcp.source), bpf_ntohs(tcp.destination)))
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		count_lost_records(1);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	fill_header(&e->h, KIND_PACKET, 0, 0);
	__builtin_memcpy(e->src, source, 16);
	__builtin_memcpy(e->dst, destination, 16);
	e->seq = bpf_ntohl(tcp.seq);
	e->ack = bpf_ntohl(tcp.ack);
	e->len = length - (tcp.offset >> 4) * 4;
	e->sport = bpf_ntohs(tcp.source);
	e->dport = bpf_ntohs(tcp.destination);
	e->family = family;
	e->window = bpf_ntohs(tcp.window);
	e->tcp_flags = tcp.flags;
	e->netns = netns;
	submit(e);
	return 0;
}

static __always_inline int segment_sent(struct sk_buff *skb)
{
	if (!ready)
		return 0;
	return segment(skb, READ(skb, head) + READ(skb, network_header));
}

/* On loopback each segment was shown when it was sent. */
static __always_inline int segment_received(struct sk_buff *skb)
{
	if (!ready || READ(skb, dev, flags) & IFF_LOOPBACK)
		return 0;
	return segment(skb, READ(skb, data));
}

#endif
