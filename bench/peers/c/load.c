// Asks a gRPC server over a unix socket, and says how long its answers took.
//
//     load SOCKET PATH MESSAGES EXPECTED WARM COUNT closed IN_FLIGHT
//     load SOCKET PATH MESSAGES EXPECTED WARM COUNT open PER_SECOND [DEADLINE_MS]
//
// MESSAGES is a file of messages, each behind its size in four bytes, sent one after the other and
// then from the first again. After WARM calls it writes "ready" and waits for a line, so that whoever
// started it can read the server's clock. Then it makes COUNT calls, and writes one line of JSON.
//
// An answer is "allowed" if its status is 200, its grpc-status 0, its length that of its prefix, and
// EXPECTED is in it; "refused" if only EXPECTED is missing; else "failed". Closed: so many in flight.
// Open: at random times, and latency counts from when a call was due, so that a server that falls
// behind shows. With a deadline each call says so in grpc-timeout, and a later answer is "late".

#include <errno.h>
#include <math.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 18, PREFIX_BYTES = 5, ANSWER_BYTES = 1 << 14, PATIENCE_MS = 10000, STATUSES = 18 };
enum { WINDOW_BYTES = 1 << 30 };
enum kind { ALLOWED, REFUSED, FAILED, KINDS };

struct message {
    const uint8_t *bytes; // with the prefix of gRPC
    size_t size;
};

struct call {
    double due;
    const struct message *message;
    size_t sent, size;
    int status_ok, grpc_status;
    uint8_t answer[ANSWER_BYTES];
};

static struct message *messages;
static size_t message_count, submitted, answered;
static struct call *unused[1 << 16];
static size_t unused_count;
static double *latencies[KINDS], deadline = INFINITY;
static size_t counts[KINDS], late, lost;
static size_t statuses[STATUSES]; // of gRPC, of what failed; the last is for none
static char sample[2 * ANSWER_BYTES + 1]; // the first refusal, in hexadecimal digits
static const char *expected;
static size_t expected_size;
static nghttp2_nv head[8];
static size_t head_size;
static nghttp2_session *session;
static int server;

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void read_messages(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) fail("no messages");
    uint8_t prefix[PREFIX_BYTES] = {0};
    size_t room = 0;
    while (fread(prefix + 1, 1, 4, file) == 4) {
        size_t size = (size_t)prefix[1] << 24 | prefix[2] << 16 | prefix[3] << 8 | prefix[4];
        uint8_t *bytes = malloc(PREFIX_BYTES + size);
        memcpy(bytes, prefix, PREFIX_BYTES);
        if (fread(bytes + PREFIX_BYTES, 1, size, file) != size) fail("a message is cut off");
        if (message_count == room) {
            room = room ? 2 * room : 1024;
            messages = realloc(messages, room * sizeof *messages);
        }
        messages[message_count++] = (struct message){bytes, PREFIX_BYTES + size};
    }
    fclose(file);
    if (!message_count) fail("no message");
}

static ssize_t read_message(nghttp2_session *of, int32_t stream, uint8_t *out, size_t room,
                            uint32_t *flags, nghttp2_data_source *source, void *user) {
    (void)of, (void)stream, (void)user;
    struct call *call = source->ptr;
    size_t left = call->message->size - call->sent;
    size_t size = left < room ? left : room;
    memcpy(out, call->message->bytes + call->sent, size);
    call->sent += size;
    if (size == left) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)size;
}

static void submit(double due) {
    struct call *call = unused_count ? unused[--unused_count] : malloc(sizeof *call);
    call->due = due;
    call->message = &messages[submitted++ % message_count];
    call->sent = call->size = 0;
    call->status_ok = 0;
    call->grpc_status = STATUSES - 1;
    nghttp2_data_provider provider = {{.ptr = call}, read_message};
    if (nghttp2_submit_request(session, NULL, head, head_size, &provider, call) < 0)
        fail("a call can't be sent");
}

static int status_of(const uint8_t *value, size_t size) {
    int status = 0;
    if (size < 1 || size > 2) return STATUSES - 1;
    for (size_t at = 0; at < size; at++) status = 10 * status + value[at] - '0';
    return status >= 0 && status < STATUSES - 1 ? status : STATUSES - 1;
}

static int on_header(nghttp2_session *of, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t size, uint8_t flags,
                     void *user) {
    (void)flags, (void)user;
    struct call *call = nghttp2_session_get_stream_user_data(of, frame->hd.stream_id);
    if (!call) return 0;
    if (name_size == 7 && !memcmp(name, ":status", 7))
        call->status_ok = size == 3 && !memcmp(value, "200", 3);
    else if (name_size == 11 && !memcmp(name, "grpc-status", 11))
        call->grpc_status = status_of(value, size);
    return 0;
}

static int on_chunk(nghttp2_session *of, uint8_t flags, int32_t stream, const uint8_t *data,
                    size_t size, void *user) {
    (void)flags, (void)user;
    struct call *call = nghttp2_session_get_stream_user_data(of, stream);
    if (!call) return 0;
    if (call->size + size > ANSWER_BYTES) fail("an answer is too long");
    memcpy(call->answer + call->size, data, size);
    call->size += size;
    return 0;
}

static enum kind judge(const struct call *call) {
    const uint8_t *prefix = call->answer;
    if (!call->status_ok || call->grpc_status || call->size < PREFIX_BYTES) return FAILED;
    size_t size = (size_t)prefix[1] << 24 | prefix[2] << 16 | prefix[3] << 8 | prefix[4];
    if (prefix[0] || size != call->size - PREFIX_BYTES) return FAILED;
    return memmem(call->answer, call->size, expected, expected_size) ? ALLOWED : REFUSED;
}

static void note(const struct call *call, enum kind kind) {
    double latency = now() - call->due;
    latencies[kind][counts[kind]++] = latency;
    late += latency > deadline;
    if (kind == FAILED) statuses[call->grpc_status]++;
    if (kind != REFUSED || *sample) return;
    for (size_t at = 0; at < call->size; at++)
        sprintf(sample + 2 * at, "%02x", call->answer[at]);
}

static int on_close(nghttp2_session *of, int32_t stream, uint32_t code, void *user) {
    (void)code, (void)user;
    struct call *call = nghttp2_session_get_stream_user_data(of, stream);
    if (!call) return 0;
    note(call, judge(call));
    answered++;
    if (unused_count < sizeof unused / sizeof *unused) unused[unused_count++] = call;
    else free(call);
    return 0;
}

static void connect_to(const char *path) {
    server = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) fail("the socket's path is too long");
    strcpy(address.sun_path, path);
    if (connect(server, (struct sockaddr *)&address, sizeof address)) fail("nobody listens");
    nghttp2_session_callbacks *callbacks;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_client_new(&session, callbacks, NULL);
    nghttp2_settings_entry windows = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES};
    nghttp2_submit_settings(session, 0, &windows, 1);
    nghttp2_session_set_local_window_size(session, 0, 0, WINDOW_BYTES);
}

static void add_field(const char *name, const char *value) {
    head[head_size++] = (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, strlen(name),
                                     strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static void write_all(const uint8_t *bytes, size_t size) {
    while (size) {
        ssize_t sent = send(server, bytes, size, MSG_NOSIGNAL);
        if (sent < 0) fail("the server hung up while it was written to");
        bytes += sent;
        size -= (size_t)sent;
    }
}

// Write what is to be written, in pieces as large as a read's.
static void flush(void) {
    static uint8_t out[2 * READ_BYTES];
    const uint8_t *bytes;
    ssize_t size;
    size_t filled = 0;
    while ((size = nghttp2_session_mem_send(session, &bytes)) > 0) {
        if (filled + (size_t)size > sizeof out) write_all(out, filled), filled = 0;
        memcpy(out + filled, bytes, (size_t)size);
        filled += (size_t)size;
    }
    if (size < 0) fail("the session broke");
    write_all(out, filled);
}

// Read what is there, after at most so many seconds. Return whether there was anything.
static int receive(double seconds) {
    static uint8_t bytes[READ_BYTES];
    struct pollfd waited = {server, POLLIN, 0};
    struct timespec pause = {(time_t)seconds, (long)(fmod(seconds, 1) * 1e9)};
    if (ppoll(&waited, 1, &pause, NULL) <= 0) return 0;
    ssize_t size = recv(server, bytes, sizeof bytes, 0);
    if (size <= 0) fail("the server hung up");
    if (nghttp2_session_mem_recv(session, bytes, (size_t)size) != size) fail("not HTTP/2");
    return 1;
}

static void closed_loop(size_t count, size_t in_flight) {
    size_t end = submitted + count;
    while (answered < end) {
        double begun = now();
        while (submitted < end && submitted - answered < in_flight) submit(begun);
        flush();
        if (!receive(PATIENCE_MS / 1e3)) fail("no answer in time");
    }
}

static void open_loop(size_t count, double rate) {
    size_t end = submitted + count;
    double due = now();
    while (answered < end) {
        for (double time = now(); submitted < end && due <= time;) {
            submit(due);
            due -= log(1 - drand48()) / rate;
        }
        flush();
        double pause = submitted < end ? due - now() : PATIENCE_MS / 1e3;
        if (!receive(pause > 0 ? pause : 0) && submitted == end) {
            lost = end - answered;
            return;
        }
    }
}

static int by_size(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static void print_kind(const char *name, enum kind kind) {
    size_t count = counts[kind];
    const double *sorted = latencies[kind];
    qsort(latencies[kind], count, sizeof(double), by_size);
    printf("\"%s\": {\"count\": %zu", name, count);
    static const struct { const char *name; double part; } PARTS[] = {
        {"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}, {"most", 1}};
    for (size_t at = 0; count && at < 4; at++) {
        size_t place = (size_t)((double)count * PARTS[at].part);
        printf(", \"%s\": %.9f", PARTS[at].name, sorted[place < count ? place : count - 1]);
    }
    printf("}, ");
}

static void reset_counts(size_t count) {
    for (int kind = 0; kind < KINDS; kind++) {
        counts[kind] = 0;
        free(latencies[kind]);
        latencies[kind] = malloc((count + 1) * sizeof(double));
    }
    late = 0;
    memset(statuses, 0, sizeof statuses);
    *sample = 0;
}

int main(int count, char **arguments) {
    if (count < 9) fail("usage: load SOCKET PATH MESSAGES EXPECTED WARM COUNT closed|open N [MS]");
    prctl(PR_SET_TIMERSLACK, 1); // the default of 50 us would be a part of what is measured
    read_messages(arguments[3]);
    expected = arguments[4];
    expected_size = strlen(expected);
    size_t warm = strtoul(arguments[5], NULL, 10), calls = strtoul(arguments[6], NULL, 10);
    int is_open = !strcmp(arguments[7], "open");
    double rate = strtod(arguments[8], NULL);
    srand48(time(NULL) ^ getpid());
    add_field(":method", "POST"), add_field(":scheme", "http"), add_field(":path", arguments[2]);
    add_field(":authority", "localhost"), add_field("te", "trailers");
    add_field("content-type", "application/grpc");
    static char timeout[16];
    if (count > 9) {
        deadline = strtod(arguments[9], NULL) / 1e3;
        snprintf(timeout, sizeof timeout, "%.7sm", arguments[9]);
        add_field("grpc-timeout", timeout);
    }
    connect_to(arguments[1]);
    reset_counts(warm);
    closed_loop(warm, 8);
    printf("ready\n");
    fflush(stdout);
    if (getchar() == EOF) return 1;
    reset_counts(calls);
    double begun = now();
    if (is_open) open_loop(calls, rate);
    else closed_loop(calls, (size_t)rate);
    double seconds = now() - begun;
    printf("{");
    print_kind("allowed", ALLOWED);
    print_kind("refused", REFUSED);
    print_kind("failed", FAILED);
    printf("\"statuses\": [%zu", statuses[0]);
    for (int at = 1; at < STATUSES; at++) printf(", %zu", statuses[at]);
    printf("], \"late\": %zu, \"lost\": %zu, \"seconds\": %.6f, \"sample\": \"%s\"}\n", late, lost,
           seconds, sample);
    return 0;
}
