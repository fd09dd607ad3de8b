/* IPv4, TCP, UDP, DNS, ICMP and ARP by the raw API; no threads, all memory static. */
#pragma once
#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_SOCKET 0
#define LWIP_NETCONN 0
#define LWIP_UDP 1
#define LWIP_IPV6 0
#define LWIP_DHCP 0
#define LWIP_DNS 1
#define IP_REASSEMBLY 0
#define IP_FRAG 0
#define MEM_ALIGNMENT 4
#define MEM_SIZE (1024 * 1024) /* each answer takes 1.6 kB until it is acknowledged */
#define MEMP_NUM_TCP_PCB 256
#define MEMP_NUM_TCP_SEG 1024
#define PBUF_POOL_SIZE 64
#define TCP_MSS 1460
#define TCP_WND (8 * TCP_MSS)
#define TCP_SND_BUF (8 * TCP_MSS)
#define TCP_SND_QUEUELEN 64
#define TCP_LISTEN_BACKLOG 0
#define LWIP_STATS 0
#define LWIP_NETIF_TX_SINGLE_PBUF 1
#define TCP_MSL 1000UL /* short TIME_WAIT: the guest serves tests */
