import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import java.net.InetSocketAddress;
import java.util.List;

/** JavaServer PORT [ADDRESS]: mongo-java-server (in memory), on loopback unless told otherwise, announcing itself as MongoDB 7.0. */
public class JavaServer {
  public static void main(String[] a) throws Exception {
    MemoryBackend backend = new MemoryBackend();
    // Its own newest version reports wire version 8; current drivers need at least 9.
    backend.version(new MongoVersion() {
      public List<Integer> getVersionArray() { return List.of(7, 0, 0, 0); }
      public int getWireVersion() { return 21; }
      public String toVersionString() { return "7.0.0"; }
    });
    MongoServer server = new MongoServer(backend);
    server.bind(new InetSocketAddress(a.length > 1 ? a[1] : "127.0.0.1", Integer.parseInt(a[0])));
    Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
    Thread.currentThread().join();
  }
}
