import java.net.InetSocketAddress;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import org.apache.iceberg.CatalogUtil;
import org.apache.iceberg.rest.RESTCatalogAdapter;
import org.apache.iceberg.rest.RESTCatalogServlet;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.http.UriCompliance;
import org.eclipse.jetty.server.HttpConnectionFactory;
import org.eclipse.jetty.server.Server;

/**
 * Iceberg's reference REST catalog: RestCatalog HOST PORT. Catalog properties come from the environment, named as in
 * the image apache/iceberg-rest-fixture: CATALOG_S3_PATH__STYLE__ACCESS is s3.path-style-access.
 */
public final class RestCatalog {
  private static final String PREFIX = "CATALOG_";

  public static void main(String[] args) throws Exception {
    Map<String, String> options = new HashMap<>();
    System.getenv().forEach((name, value) -> {
      if (name.startsWith(PREFIX)) {
        String property = name.substring(PREFIX.length()).replace("__", "-").replace('_', '.');
        options.put(property.toLowerCase(Locale.ROOT), value);
      }
    });
    var catalog = CatalogUtil.buildIcebergCatalog("rest", options, null);
    var context = new ServletContextHandler();
    context.addServlet(new ServletHolder(new RESTCatalogServlet(new RESTCatalogAdapter(catalog))), "/*");
    // Iceberg's clients write the parts of a namespace with %1F between them, and older ones ask for branches so.
    context.getServletHandler().setDecodeAmbiguousURIs(true);
    var server = new Server(new InetSocketAddress(args[0], Integer.parseInt(args[1])));
    for (var connector : server.getConnectors()) {
      var http = connector.getConnectionFactory(HttpConnectionFactory.class);
      http.getHttpConfiguration().setUriCompliance(UriCompliance.UNSAFE);
    }
    server.setHandler(context);
    server.start();
    server.join();
  }
}
