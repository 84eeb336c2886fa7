/* The floor of `python -m benchmarks.fanout`: one buffer to many sockets, and nothing else. */
#include <stddef.h>
#include <sys/socket.h>

int send_loop(const int *sockets, int count, const char *data, size_t size) {
    int short_of = 0;
    for (int i = 0; i < count; i++)
        short_of += send(sockets[i], data, size, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)size;
    return short_of;
}
