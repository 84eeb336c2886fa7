/* The floor: what sending alone costs. One process subscribes to every channel of Redis and
 * writes each client what has arrived for it, one send() a client and batch. No validation, no
 * time-outs, no fairness, no Python: no server can do the same sends for less.
 *
 * usage: floor <port> <redis port>
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_CLIENTS = 20000, MAX_FD = 65536, CONTRACTS = 1024, BUFFER = 1 << 22, BATCH = 4096 };

typedef struct {
    int fd;
    uint64_t wants[CONTRACTS / 64];
} Client;

static Client clients[MAX_CLIENTS];
static int client_count;
/* Who wants a contract: an update that comes alone looks at nobody else. */
static int wanting[CONTRACTS][MAX_CLIENTS];
static int wanting_count[CONTRACTS];
static char input[BUFFER];
static size_t input_size;
static char out[BUFFER];

typedef struct {
    int contract;
    const char *text;
    size_t size;
} Message;

static Message batch[BATCH];

/* SHA-1 of the handshake's key (RFC 6455, 4.2.2; RFC 3174). */
static uint32_t rol(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void sha1(const unsigned char *data, size_t size, unsigned char digest[20]) {
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    unsigned char block[128] = {0};
    memcpy(block, data, size);
    block[size] = 0x80;
    size_t total = size + 9 <= 64 ? 64 : 128;
    uint64_t bits = size * 8;
    for (int i = 0; i < 8; i++) block[total - 1 - i] = bits >> (8 * i);
    for (size_t at = 0; at < total; at += 64) {
        uint32_t w[80];
        for (int i = 0; i < 16; i++)
            w[i] = block[at + i * 4] << 24 | block[at + i * 4 + 1] << 16 |
                   block[at + i * 4 + 2] << 8 | block[at + i * 4 + 3];
        for (int i = 16; i < 80; i++) w[i] = rol(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 80; i++) {
            uint32_t f, k;
            if (i < 20) f = (b & c) | (~b & d), k = 0x5A827999;
            else if (i < 40) f = b ^ c ^ d, k = 0x6ED9EBA1;
            else if (i < 60) f = (b & c) | (b & d) | (c & d), k = 0x8F1BBCDC;
            else f = b ^ c ^ d, k = 0xCA62C1D6;
            uint32_t t = rol(a, 5) + f + e + k + w[i];
            e = d, d = c, c = rol(b, 30), b = a, a = t;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 20; i++) digest[i] = h[i / 4] >> (24 - 8 * (i % 4));
}

static void base64(const unsigned char *data, char *text) {
    static const char *letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < 20; i += 3) {
        int left = 20 - i;
        uint32_t v = data[i] << 16 | (left > 1 ? data[i + 1] << 8 : 0) | (left > 2 ? data[i + 2] : 0);
        *text++ = letters[v >> 18 & 63];
        *text++ = letters[v >> 12 & 63];
        *text++ = left > 1 ? letters[v >> 6 & 63] : '=';
        *text++ = left > 2 ? letters[v & 63] : '=';
    }
    *text = 0;
}

static void accept_client(int listener) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0 || client_count == MAX_CLIENTS) return;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    static char head[1 << 18];
    size_t size = 0;
    ssize_t n;
    head[0] = 0;
    while ((n = recv(fd, head + size, sizeof head - size - 1, 0)) > 0) {
        head[size += n] = 0;
        if (strstr(head, "\r\n\r\n")) break;
    }
    char *end = strstr(head, "\r\n");
    char keyed[128], answer[256], accepted[32];
    unsigned char digest[20];
    char *key = strcasestr(head, "sec-websocket-key: ");
    if (!end || !key) { /* somebody who only looks whether the port is open */
        close(fd);
        return;
    }
    Client *client = &clients[client_count];
    client->fd = fd;
    for (char *at = head; (at = strstr(at, "contract_names=B")) && at < end; at++) {
        int contract = atoi(at + 16) % CONTRACTS;
        client->wants[contract / 64] |= 1ull << (contract % 64);
        wanting[contract][wanting_count[contract]++] = client_count;
    }
    client_count++;
    key += 19;
    snprintf(keyed, sizeof keyed, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    sha1((unsigned char *)keyed, strlen(keyed), digest);
    base64(digest, accepted);
    int length = snprintf(answer, sizeof answer,
                          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                          "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accepted);
    send(fd, answer, length, MSG_NOSIGNAL);
}

static size_t put_frame(char *at, const Message *message) {
    size_t n = message->size;
    at[0] = (char)0x81;
    if (n < 126) {
        at[1] = n;
        memcpy(at + 2, message->text, n);
        return n + 2;
    }
    at[1] = 126;
    at[2] = n >> 8;
    at[3] = n;
    memcpy(at + 4, message->text, n);
    return n + 4;
}

static void send_all(Client *client, const char *data, size_t size) {
    while (size && client->fd >= 0) {
        ssize_t n = send(client->fd, data, size, MSG_NOSIGNAL);
        if (n <= 0) { /* it has left */
            close(client->fd);
            client->fd = -1;
            return;
        }
        data += n;
        size -= n;
    }
}

static void deliver(int count) {
    static char frames[BUFFER];
    static size_t begins[BATCH + 1];
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        begins[i] = total;
        total += put_frame(frames + total, &batch[i]);
    }
    begins[count] = total;
    if (count == 1) {
        int contract = batch[0].contract;
        for (int i = 0; i < wanting_count[contract]; i++)
            send_all(&clients[wanting[contract][i]], frames, total);
        return;
    }
    for (int c = 0; c < client_count; c++) {
        if (clients[c].fd < 0) continue;
        const char *data = frames;
        size_t size = 0;
        for (int i = 0; i < count; i++) {
            int k = batch[i].contract;
            if (!(clients[c].wants[k / 64] >> (k % 64) & 1)) continue;
            size_t n = begins[i + 1] - begins[i];
            if (size == 0 || data + size == frames + begins[i]) { /* still in one piece */
                if (size == 0) data = frames + begins[i];
            } else {
                if (data != out) {
                    memcpy(out, data, size);
                    data = out;
                }
                memcpy(out + size, frames + begins[i], n);
            }
            size += n;
        }
        send_all(&clients[c], data, size);
    }
}

/* One bulk string of RESP2 at `at`: its text, and the place after it; 0 if it is not whole. */
static size_t bulk(size_t at, const char **text, size_t *size) {
    if (at >= input_size || input[at] != '$') return 0;
    char *line = memchr(input + at, '\n', input_size - at);
    if (!line) return 0;
    *size = atol(input + at + 1);
    *text = line + 1;
    size_t next = (line + 1 - input) + *size + 2;
    return next <= input_size ? next : 0;
}

static void take_messages(int redis) {
    ssize_t n = recv(redis, input + input_size, sizeof input - input_size, 0);
    if (n <= 0) exit(0);
    input_size += n;
    size_t at = 0;
    int count = 0;
    while (at < input_size && count < BATCH) {
        /* *4 pmessage pattern channel data; the answer to PSUBSCRIBE is *3 and ends with :1 */
        char *line = memchr(input + at, '\n', input_size - at);
        if (!line) break;
        int parts = atoi(input + at + 1);
        size_t next = line + 1 - input;
        const char *text[4];
        size_t size[4];
        int i = 0;
        for (; i < parts; i++) {
            if (next < input_size && input[next] == ':') {
                line = memchr(input + next, '\n', input_size - next);
                next = line ? (size_t)(line + 1 - input) : 0;
            } else
                next = bulk(next, &text[i], &size[i]);
            if (!next) break;
        }
        if (i < parts) break;
        if (parts == 4) batch[count++] = (Message){atoi(text[2] + 7), text[3], size[3]};
        at = next;
    }
    if (count) deliver(count);
    memmove(input, input + at, input_size - at);
    input_size -= at;
}

static int listening(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (void *)&address, sizeof address) || listen(fd, 4096)) exit(1);
    return fd;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    int listener = listening(atoi(argv[1]));
    int redis = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(redis, (void *)&address, sizeof address)) return 1;
    const char *subscribe = "*2\r\n$10\r\nPSUBSCRIBE\r\n$7\r\nbench:*\r\n";
    send(redis, subscribe, strlen(subscribe), 0);
    int poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    event.data.fd = listener;
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    event.data.fd = redis;
    epoll_ctl(poll, EPOLL_CTL_ADD, redis, &event);
    for (;;) {
        struct epoll_event events[16];
        int n = epoll_wait(poll, events, 16, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener) accept_client(listener);
            else take_messages(redis);
        }
    }
}
