import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.atomic.AtomicInteger;

/** What the JVM costs: platform threads, and virtual threads where there are some (Java 21). The arguments name experiments. */
public class Lab {
    static boolean quick;
    static Method virtual; // Thread.startVirtualThread, which older versions do not have

    interface Start {
        Thread start(Runnable r);
    }

    static final Start PLATFORM = r -> {
        Thread t = new Thread(r);
        t.start();
        return t;
    };
    static final Start VIRTUAL = r -> {
        try {
            return (Thread) virtual.invoke(null, r);
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    };

    public static void main(String[] args) throws Exception {
        List<String> names = Arrays.asList(args);
        quick = names.contains("--quick");
        try {
            virtual = Thread.class.getMethod("startVirtualThread", Runnable.class);
            VIRTUAL.start(() -> {}).join();
        } catch (ReflectiveOperationException | RuntimeException e) {
            virtual = null;
        }
        for (String name : names) {
            if (!name.startsWith("--")) {
                one(name, "jvm thread", PLATFORM, quick ? 200 : 1000);
                if (virtual != null) {
                    one(name, "jvm virtual thread", VIRTUAL, quick ? 5000 : 50000);
                }
            }
        }
        System.exit(0);
    }

    static void one(String name, String model, Start s, int n) throws Exception {
        switch (name) {
            case "create": create(model, s, n); break;
            case "memory": memory(model, s, n); break;
            case "switch": pingPong(model, s, quick ? 2000 : 10000); break;
            case "talk": talk(model, s, quick ? 5000 : 50000); break;
            case "crash": crash(model, s); break;
            case "cpu": cpu(model, s); break;
            case "wait": waits(model, s); break;
            case "many": many(model, s, quick ? 2000 : 10000); break;
            default: throw new IllegalArgumentException(name);
        }
    }

    static void row(String model, String measure, double value, String unit, int n, String note) {
        System.out.println("{\"model\":\"" + model + "\",\"measure\":\"" + measure + "\",\"value\":" + value + ",\"unit\":\"" + unit + "\",\"n\":" + n + ",\"note\":\"" + note + "\"}");
    }

    static double micros(long begun, int n) {
        return (System.nanoTime() - begun) / 1e3 / n;
    }

    static long resident() throws Exception {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmRSS:")) {
                return Long.parseLong(line.replaceAll("\\D", ""));
            }
        }
        return 0;
    }

    static void create(String model, Start s, int n) throws Exception {
        for (int i = 0; i < n / 5; i++) {
            s.start(() -> {}).join();
        }
        long begun = System.nanoTime();
        for (int i = 0; i < n; i++) {
            s.start(() -> {}).join();
        }
        row(model, "create", micros(begun, n), "µs", n, "");
    }

    /** Starts n that wait, and tells how much memory each has taken; the latch lets them go. */
    static double waiting(Start s, int n, CountDownLatch stop, List<Thread> all, int[] failed) throws Exception {
        CountDownLatch ready = new CountDownLatch(n);
        long before = resident();
        for (int i = 0; i < n; i++) {
            try {
                all.add(s.start(() -> {
                    ready.countDown();
                    try {
                        stop.await();
                    } catch (InterruptedException e) {
                        Thread.currentThread().interrupt();
                    }
                }));
            } catch (OutOfMemoryError e) { // the system allows no more
                failed[0] = n - i;
                break;
            }
        }
        while (ready.getCount() > failed[0]) {
            Thread.sleep(1);
        }
        return (double) (resident() - before) / Math.max(1, all.size());
    }

    static void memory(String model, Start s, int n) throws Exception {
        CountDownLatch stop = new CountDownLatch(1);
        row(model, "memory", waiting(s, n, stop, new ArrayList<>(), new int[1]), "KB", n, "");
        stop.countDown();
    }

    static void pingPong(String model, Start s, int n) throws Exception {
        SynchronousQueue<Integer> there = new SynchronousQueue<>(), back = new SynchronousQueue<>();
        CountDownLatch done = new CountDownLatch(1);
        double[] took = new double[1];
        s.start(() -> {
            try {
                for (int i = 0; i < n; i++) {
                    back.put(there.take());
                }
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        });
        s.start(() -> {
            try {
                long begun = System.nanoTime();
                for (int i = 0; i < n; i++) {
                    there.put(i);
                    back.take();
                }
                took[0] = micros(begun, n) / 2;
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
            done.countDown();
        });
        done.await();
        row(model, "switch", took[0], "µs", n, "SynchronousQueue");
    }

    static void talk(String model, Start s, int n) throws Exception {
        LinkedBlockingQueue<byte[]> q = new LinkedBlockingQueue<>();
        CountDownLatch done = new CountDownLatch(1);
        byte[] message = new byte[64];
        s.start(() -> {
            try {
                for (int i = 0; i < n; i++) {
                    q.take();
                }
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
            done.countDown();
        });
        long begun = System.nanoTime();
        for (int i = 0; i < n; i++) {
            q.put(message);
        }
        done.await();
        row(model, "message", micros(begun, n), "µs", n, "LinkedBlockingQueue");
        if (s == PLATFORM) {
            ExecutorService pool = Executors.newFixedThreadPool(1);
            begun = System.nanoTime();
            List<java.util.concurrent.Future<byte[]>> all = new ArrayList<>();
            for (int i = 0; i < n; i++) {
                all.add(pool.submit(() -> message));
            }
            for (var f : all) {
                f.get();
            }
            row(model, "task", micros(begun, n), "µs", n, "ExecutorService.submit and its result");
            pool.shutdownNow();
        }
    }

    static void crash(String model, Start s) throws Exception {
        AtomicInteger alive = new AtomicInteger();
        Thread.setDefaultUncaughtExceptionHandler((t, e) -> {});
        List<Thread> all = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            all.add(s.start(() -> {
                try {
                    Thread.sleep(100);
                    alive.incrementAndGet();
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
            }));
        }
        s.start(() -> { throw new IllegalStateException("on purpose"); }).join();
        for (Thread t : all) {
            t.join();
        }
        row(model, "neighbours lost", 3 - alive.get(), "of 3", 1, "one of four threw an exception; a crash in native code would end the JVM with all of them");
    }

    static volatile long sink;

    static void burn(long rounds) {
        long n = 88172645463325252L;
        for (long i = 0; i < rounds; i++) {
            n ^= n << 13;
            n ^= n >>> 7;
            n ^= n << 17;
        }
        sink = n;
    }

    static double four(Start s, Runnable r) throws Exception {
        long begun = System.nanoTime();
        List<Thread> all = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            all.add(s.start(r));
        }
        for (Thread t : all) {
            t.join();
        }
        return (System.nanoTime() - begun) / 1e9;
    }

    static void cpu(String model, Start s) throws Exception {
        long rounds = quick ? 20_000_000L : 60_000_000L;
        burn(rounds / 4);
        double loop = Double.MAX_VALUE, together = Double.MAX_VALUE;
        for (int k = 0; k < 3; k++) {
            long begun = System.nanoTime();
            for (int i = 0; i < 4; i++) {
                burn(rounds);
            }
            loop = Math.min(loop, (System.nanoTime() - begun) / 1e9);
            together = Math.min(together, four(s, () -> burn(rounds)));
        }
        if (s == PLATFORM) {
            row("jvm loop", "four tasks", loop, "s", 4, "best of three rounds");
        }
        row(model, "four tasks", together, "s", 4, "best of three rounds");
    }

    static void waits(String model, Start s) throws Exception {
        long millis = quick ? 100 : 1000;
        row(model, "four waits", four(s, () -> {
            try {
                Thread.sleep(millis);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }), "s", 4, "waits of " + (quick ? "0.1" : "1") + " s");
    }

    static void many(String model, Start s, int n) throws Exception {
        CountDownLatch stop = new CountDownLatch(1);
        List<Thread> all = new ArrayList<>();
        int[] failed = new int[1];
        long begun = System.nanoTime();
        double each = waiting(s, n, stop, all, failed);
        Thread.sleep(1000);
        stop.countDown();
        for (Thread t : all) {
            t.join();
        }
        String note = failed[0] == 0 ? "" : "only " + all.size() + " of " + n + ": the system allows no more threads";
        row(model, "all waits", (System.nanoTime() - begun) / 1e9, "s", all.size(), note);
        row(model, "memory of each", each, "KB", all.size(), note);
    }
}
