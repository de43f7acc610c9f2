/** Six threads share a monitor; whoever has it sleeps. */
public class Lock {
    public static void main(String[] a) throws Exception {
        int ms = 8 + Integer.parseInt(a[0]) % 4;
        Object lock = new Object();
        Thread[] t = new Thread[6];
        for (int i = 0; i < t.length; i++) {
            t[i] = new Thread(() -> {
                for (int k = 0; k < 80; k++) {
                    synchronized (lock) { try { Thread.sleep(ms); } catch (InterruptedException e) { return; } }
                }
            });
            t[i].start();
        }
        for (Thread x : t) x.join();
    }
}
