#include "parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "err.h"
#include "mem.h"

struct job {
    parallel_fn *fn;
    void *arg;
    size_t n, grain;
    atomic_size_t next;
};

static struct {
    int n; /* threads including the caller; 0 = not started */
    pthread_mutex_t lock;
    pthread_cond_t start, done;
    struct job *job;
    unsigned generation;
    int running;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .start = PTHREAD_COND_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

static _Thread_local bool inside;
static _Thread_local int self; /* this thread's index */

static void work(struct job *j)
{
    inside = true;
    for (;;) {
        const size_t begin = atomic_fetch_add(&j->next, j->grain);
        if (begin >= j->n)
            break;
        const size_t end = j->n - begin < j->grain ? j->n : begin + j->grain;
        j->fn(j->arg, begin, end, self);
    }
    inside = false;
}

static void *worker(void *arg)
{
    self = (int)(intptr_t)arg;
    unsigned seen = 0;
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (pool.generation == seen)
            pthread_cond_wait(&pool.start, &pool.lock);
        seen = pool.generation;
        struct job *j = pool.job;
        pthread_mutex_unlock(&pool.lock);
        work(j);
        pthread_mutex_lock(&pool.lock);
        if (--pool.running == 0)
            pthread_cond_signal(&pool.done);
    }
    return NULL;
}

void parallel_init(int n_threads)
{
    if (pool.n)
        return;
    if (n_threads <= 0) {
        cpu_set_t set;
        n_threads = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    }
    pool.n = n_threads < 256 ? n_threads : 256;
    for (int i = 1; i < pool.n; i++) {
        pthread_t t;
        if (pthread_create(&t, NULL, worker, (void *)(intptr_t)i)) {
            pool.n = i; /* fewer threads change the time, never a result */
            break;
        }
        pthread_detach(t);
    }
}

int parallel_threads(void)
{
    parallel_init(0);
    return pool.n;
}

void parallel_for(size_t n, size_t grain, parallel_fn *fn, void *arg)
{
    if (!grain)
        BUG("grain 0");
    struct job j = {.fn = fn, .arg = arg, .n = n, .grain = grain};
    atomic_init(&j.next, 0);
    if (inside || n <= grain || parallel_threads() == 1) {
        const bool was = inside;
        work(&j);
        inside = was;
        return;
    }
    pthread_mutex_lock(&pool.lock);
    pool.job = &j;
    pool.running = pool.n - 1;
    pool.generation++;
    pthread_cond_broadcast(&pool.start);
    pthread_mutex_unlock(&pool.lock);
    work(&j);
    pthread_mutex_lock(&pool.lock);
    while (pool.running)
        pthread_cond_wait(&pool.done, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
}
