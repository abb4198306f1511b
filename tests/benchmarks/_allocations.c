/* Counts what a process has allocated, in all its threads: loaded before the C library (LD_PRELOAD), read with ctypes.
   Small pieces, which are Python's, don't count. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>

#define LEAST 32768

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static atomic_long live, peak;

static void *add(void *block) {
    size_t size = block ? malloc_usable_size(block) : 0;
    if (size >= LEAST) {
        long now = atomic_fetch_add(&live, (long)size) + (long)size, before = atomic_load(&peak);
        while (now > before && !atomic_compare_exchange_weak(&peak, &before, now)) {
        }
    }
    return block;
}

static void *take(void *block) {
    size_t size = block ? malloc_usable_size(block) : 0;
    if (size >= LEAST) atomic_fetch_sub(&live, (long)size);
    return block;
}

void *malloc(size_t size) { return add(__libc_malloc(size)); }
void *calloc(size_t count, size_t size) { return add(__libc_calloc(count, size)); }
void *memalign(size_t alignment, size_t size) { return add(__libc_memalign(alignment, size)); }
void *aligned_alloc(size_t alignment, size_t size) { return add(__libc_memalign(alignment, size)); }
void free(void *block) { __libc_free(take(block)); }

void *realloc(void *block, size_t size) {
    take(block);
    void *moved = __libc_realloc(block, size);
    if (!moved && size) return add(block), NULL;
    return add(moved);
}

int posix_memalign(void **where, size_t alignment, size_t size) {
    void *block = add(__libc_memalign(alignment, size));
    if (!block) return ENOMEM;
    *where = block;
    return 0;
}

long allocated_bytes(void) { return atomic_load(&live); }
long peak_bytes(void) { return atomic_load(&peak); }
void reset_peak(void) { atomic_store(&peak, atomic_load(&live)); }
