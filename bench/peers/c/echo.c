// Answers every gRPC call with the bytes of a file: what HTTP/2 costs in C, and nothing else.
//
//     echo SOCKET FILE
//
// One thread, epoll, libnghttp2. Answers to everything that came in one read leave in one write.
// grpc.health.v1 is always SERVING, because Envoy asks for it. No limits: this is no server to run.

#include <errno.h>
#include <fcntl.h>
#include <nghttp2/nghttp2.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 18, EVENTS = 64, PREFIX_BYTES = 5 };

struct body {
    uint8_t *bytes;
    size_t size;
};

struct connection {
    int fd;
    nghttp2_session *session;
    uint8_t *pending; // what the socket did not take
    size_t pending_size;
};

struct call {
    const struct body *body;
    size_t sent;
};

static struct body answer, serving;

#define FIELD(name, value) \
    { (uint8_t *)(name), (uint8_t *)(value), sizeof(name) - 1, sizeof(value) - 1, 0 }

static const nghttp2_nv HEAD[] = {
    FIELD(":status", "200"),
    FIELD("content-type", "application/grpc"),
};
static const nghttp2_nv TRAILERS[] = {FIELD("grpc-status", "0")};

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static struct body framed(const uint8_t *message, size_t size) {
    struct body body = {malloc(size + PREFIX_BYTES), size + PREFIX_BYTES};
    body.bytes[0] = 0;
    for (int at = 0; at < 4; at++) body.bytes[1 + at] = (uint8_t)(size >> (24 - 8 * at));
    memcpy(body.bytes + PREFIX_BYTES, message, size);
    return body;
}

static struct body framed_file(const char *path) {
    static uint8_t bytes[1 << 20];
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    return framed(bytes, size);
}

static ssize_t read_body(nghttp2_session *session, int32_t stream, uint8_t *out, size_t room,
                         uint32_t *flags, nghttp2_data_source *source, void *user) {
    (void)user;
    struct call *call = source->ptr;
    size_t left = call->body->size - call->sent;
    size_t size = left < room ? left : room;
    memcpy(out, call->body->bytes + call->sent, size);
    call->sent += size;
    if (size == left) {
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        nghttp2_submit_trailer(session, stream, TRAILERS, 1);
    }
    return (ssize_t)size;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    (void)user;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    struct call *call = malloc(sizeof *call);
    *call = (struct call){&answer, 0};
    return nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t size, uint8_t flags,
                     void *user) {
    (void)user, (void)flags;
    static const char HEALTH[] = "/grpc.health.v1.Health/";
    if (name_size == 5 && !memcmp(name, ":path", 5) && size > sizeof HEALTH - 1 &&
        !memcmp(value, HEALTH, sizeof HEALTH - 1)) {
        struct call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (call) call->body = &serving;
    }
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    (void)user;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
    if (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) return 0;
    int32_t stream = frame->hd.stream_id;
    struct call *call = nghttp2_session_get_stream_user_data(session, stream);
    if (!call) return 0;
    nghttp2_data_provider provider = {{.ptr = call}, read_body};
    return nghttp2_submit_response(session, stream, HEAD, 2, &provider);
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t code, void *user) {
    (void)code, (void)user;
    free(nghttp2_session_get_stream_user_data(session, stream));
    return 0;
}

static struct connection *accept_one(int listener, int poller,
                                     const nghttp2_session_callbacks *callbacks) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return NULL;
    struct connection *made = calloc(1, sizeof *made);
    made->fd = fd;
    nghttp2_session_server_new(&made->session, callbacks, made);
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1 << 20},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 24},
    };
    nghttp2_submit_settings(made->session, 0, settings, 2);
    nghttp2_session_set_local_window_size(made->session, 0, 0, 1 << 24);
    struct epoll_event event = {EPOLLIN, {.ptr = made}};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    return made;
}

static void keep(struct connection *of, const uint8_t *bytes, size_t size) {
    of->pending = realloc(of->pending, of->pending_size + size);
    memcpy(of->pending + of->pending_size, bytes, size);
    of->pending_size += size;
}

// Write everything that there is, in one go. Return whether the connection lives.
static int flush(struct connection *of) {
    const uint8_t *bytes;
    ssize_t size;
    while ((size = nghttp2_session_mem_send(of->session, &bytes)) > 0)
        keep(of, bytes, (size_t)size);
    if (size < 0) return 0;
    if (of->pending_size) {
        ssize_t sent = send(of->fd, of->pending, of->pending_size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return 0;
        if (sent > 0) {
            of->pending_size -= (size_t)sent;
            memmove(of->pending, of->pending + sent, of->pending_size);
        }
    }
    return nghttp2_session_want_read(of->session) || of->pending_size;
}

static int serve(struct connection *of, int poller) {
    static uint8_t bytes[READ_BYTES];
    ssize_t size = recv(of->fd, bytes, sizeof bytes, 0);
    if (size == 0 || (size < 0 && errno != EAGAIN)) return 0;
    if (size > 0 && nghttp2_session_mem_recv(of->session, bytes, (size_t)size) < 0) return 0;
    int had_pending = of->pending_size > 0;
    if (!flush(of)) return 0;
    if (had_pending || of->pending_size) {
        uint32_t events = EPOLLIN | (of->pending_size ? EPOLLOUT : 0);
        struct epoll_event event = {events, {.ptr = of}};
        epoll_ctl(poller, EPOLL_CTL_MOD, of->fd, &event);
    }
    return 1;
}

static void hang_up(struct connection *of) {
    nghttp2_session_del(of->session);
    close(of->fd);
    free(of->pending);
    free(of);
}

static int listen_on(const char *path) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) errno = ENAMETOOLONG, fail(path);
    strcpy(address.sun_path, path);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 128)) fail(path);
    return fd;
}

static nghttp2_session_callbacks *callbacks_of_calls(void) {
    nghttp2_session_callbacks *callbacks;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    return callbacks;
}

int main(int count, char **arguments) {
    if (count != 3) return fprintf(stderr, "usage: echo SOCKET FILE\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    answer = framed_file(arguments[2]);
    serving = framed((const uint8_t *)"\x08\x01", 2); // HealthCheckResponse: SERVING
    nghttp2_session_callbacks *callbacks = callbacks_of_calls();
    int listener = listen_on(arguments[1]), poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[EVENTS], event = {EPOLLIN, {.ptr = NULL}};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int at = 0; at < ready; at++) {
            struct connection *of = events[at].data.ptr;
            if (!of) of = accept_one(listener, poller, callbacks);
            if (of && !serve(of, poller)) hang_up(of);
        }
    }
}
