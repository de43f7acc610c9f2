import java.lang.reflect.Field;
import java.util.ArrayList;
import java.util.List;

public class Fault {
    public static void main(String[] args) throws Exception {
        int n = Integer.parseInt(args[1]);
        if (n != 5) {
            System.out.println(n);
            return;
        }
        switch (args[0]) {
            case "segv":
                Class<?> c = Class.forName("sun.misc.Unsafe");
                Field f = c.getDeclaredField("theUnsafe");
                f.setAccessible(true);
                c.getMethod("putAddress", long.class, long.class).invoke(f.get(null), 0L, 0L);
                break;
            case "oom":
                List<byte[]> all = new ArrayList<>();
                while (true) all.add(new byte[1 << 20]);
            case "throws":
                throw new IllegalStateException("five");
            case "writes":
                java.nio.file.Files.writeString(java.nio.file.Path.of("/tmp/tandem-faults-escaped"), "");
                break;
            case "exit":
                Runtime.getRuntime().halt(77);
                break;
            case "spins":
                while (true) { }
            case "abort":
                new ProcessBuilder("kill", "-ABRT", String.valueOf(ProcessHandle.current().pid())).start().waitFor();
                Thread.sleep(600000);
            case "locks":
                java.nio.file.Files.writeString(java.nio.file.Path.of("culprit"), "0");
                Thread.currentThread().join();
        }
    }
}
