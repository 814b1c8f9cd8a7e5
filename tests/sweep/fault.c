/* Preloaded into a process: the Nth call on a file in FAULT_FOLDER fails, as on a bad or full disk.
 *
 *   FAULT_FOLDER  absolute path; FAULT_AT  number of the failing call, counted over all processes (FAULT_COUNT is a file
 *   whose length is the count); FAULT_ERRNO  error number; FAULT_LAST  "1": all later calls fail too; FAULT_LOG  log of
 *   failed calls.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int inside(const char *path) {
    const char *folder = getenv("FAULT_FOLDER");
    size_t size = folder ? strlen(folder) : 0;
    return size && path && strncmp(path, folder, size) == 0 && (path[size] == 0 || path[size] == 0x2f);
}

static int inside_fd(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return inside(path);
}

/* The count is the length of a file: appending one byte is atomic between processes. */
static int fails(const char *what, const char *path) {
    static int (*real_open)(const char *, int, ...);
    static ssize_t (*real_write)(int, const void *, size_t);
    static int (*real_close)(int);
    if (!real_open) {
        real_open = dlsym(RTLD_NEXT, "open");
        real_write = dlsym(RTLD_NEXT, "write");
        real_close = dlsym(RTLD_NEXT, "close");
    }
    const char *count = getenv("FAULT_COUNT"), *at = getenv("FAULT_AT"), *number = getenv("FAULT_ERRNO");
    if (!count || !at) return 0;
    int fd = real_open(count, O_WRONLY | O_APPEND | O_CREAT, 0644);
    if (fd < 0) return 0;
    real_write(fd, "x", 1);
    long calls = (long)lseek(fd, 0, SEEK_CUR), wanted = atol(at);
    real_close(fd);
    const char *last = getenv("FAULT_LAST");
    if (calls == wanted || (last && *last == '1' && calls > wanted)) {
        const char *log = getenv("FAULT_LOG");
        if (log && (fd = real_open(log, O_WRONLY | O_APPEND | O_CREAT, 0644)) >= 0) {
            char line[PATH_MAX + 64];
            int n = snprintf(line, sizeof line, "%s %s\n", what, path);
            real_write(fd, line, n);
            real_close(fd);
        }
        errno = number ? atoi(number) : EIO;
        return 1;
    }
    return 0;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, #name)
#define WRITES(flags) (((flags) & O_ACCMODE) != O_RDONLY)

int open(const char *path, int flags, ...) {
    va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more);
    REAL(open);
    if (WRITES(flags) && inside(path) && fails("open", path)) return -1;
    return real(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more);
    REAL(open64);
    if (WRITES(flags) && inside(path) && fails("open", path)) return -1;
    return real(path, flags, mode);
}

ssize_t write(int fd, const void *data, size_t size) {
    char path[PATH_MAX];
    REAL(write);
    if (fd > 2 && inside_fd(fd, path) && fails("write", path)) return -1;
    return real(fd, data, size);
}

int fsync(int fd) {
    char path[PATH_MAX];
    REAL(fsync);
    if (inside_fd(fd, path) && fails("fsync", path)) return -1;
    return real(fd);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    if (inside(to) && fails("rename", to)) return -1;
    return real(from, to);
}

int close(int fd) { /* the descriptor is closed even if this fails, as on Linux */
    char path[PATH_MAX];
    REAL(close);
    if (fd > 2 && inside_fd(fd, path) && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY && fails("close", path)) {
        int kept = errno;
        real(fd);
        errno = kept;
        return -1;
    }
    return real(fd);
}
