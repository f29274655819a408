import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.lucene.analysis.Analyzer;
import org.opensearch.Version;
import org.opensearch.analysis.common.CommonAnalysisModulePlugin;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.http.HttpServerTransport;
import org.opensearch.index.analysis.AnalyzerProvider;
import org.opensearch.index.analysis.PreBuiltAnalyzerProviderFactory;
import org.opensearch.index.mapper.MapperExtrasModulePlugin;
import org.opensearch.index.reindex.ReindexModulePlugin;
import org.opensearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.opensearch.ingest.common.IngestCommonModulePlugin;
import org.opensearch.node.Node;
import org.opensearch.painless.PainlessModulePlugin;
import org.opensearch.plugins.PluginInfo;
import org.opensearch.transport.Netty4ModulePlugin;

/**
 * One OpenSearch node with the modules that the tests need. Their classes have the names of 3.x
 * here; for 2.x, {@code Module} is taken out of them before this is compiled.
 *
 * <p>Usage: {@code OsNode HOME [setting=value | plugin:CLASS]...}. The address is in HOME/http.addr
 * once requests are answered. When its input ends, whoever started it is gone: it stops and takes
 * HOME with it.
 */
public final class OsNode {
    /** Only a subclass may say which classes are plugins, rather than have them searched for in HOME. */
    private static final class Embedded extends Node {
        /** The plugins are of type Class in 2.x, PluginInfo in 3.x. */
        @SuppressWarnings({"rawtypes", "unchecked"})
        Embedded(Environment environment, Collection plugins) {
            super(environment, plugins, true);
        }
    }

    /** Without Thai: a Java that has few languages cannot do it, and then no index can be made. */
    public static final class Analysis extends CommonAnalysisModulePlugin {
        @Override
        public Map<String, AnalysisProvider<AnalyzerProvider<? extends Analyzer>>> getAnalyzers() {
            var analyzers = new TreeMap<>(super.getAnalyzers());
            analyzers.remove("thai");
            return analyzers;
        }

        @Override
        public List<PreBuiltAnalyzerProviderFactory> getPreBuiltAnalyzerProviderFactories() {
            var analyzers = new ArrayList<>(super.getPreBuiltAnalyzerProviderFactories());
            analyzers.removeIf(analyzer -> analyzer.getName().equals("thai"));
            return analyzers;
        }
    }

    private static final List<Class<?>> MODULES = List.of(
        Netty4ModulePlugin.class,
        Analysis.class,
        MapperExtrasModulePlugin.class,
        PainlessModulePlugin.class,
        ReindexModulePlugin.class,
        IngestCommonModulePlugin.class);

    public static void main(String[] arguments) throws Exception {
        Path home = Path.of(arguments[0]).toAbsolutePath();
        for (String folder : List.of("config", "data", "logs", "modules", "plugins")) {
            Files.createDirectories(home.resolve(folder));
        }
        Settings.Builder settings = Settings.builder()
            .put("path.home", home.toString())
            .put("path.data", home.resolve("data").toString())
            .put("path.logs", home.resolve("logs").toString())
            .put("cluster.name", "trailhound-tests")
            .put("node.name", "n1")
            .put("discovery.type", "single-node")
            .put("network.host", "127.0.0.1")
            .put("http.port", "0")
            .put("transport.port", "0")
            // Indices must not become read-only because a developer's disk is nearly full.
            .put("cluster.routing.allocation.disk.threshold_enabled", false);
        List<Class<?>> classes = new ArrayList<>(MODULES);
        for (String argument : Arrays.asList(arguments).subList(1, arguments.length)) {
            int equals = argument.indexOf('=');
            if (argument.startsWith("plugin:")) {
                classes.add(Class.forName(argument.substring("plugin:".length())));
            } else {
                settings.put(argument.substring(0, equals), argument.substring(equals + 1));
            }
        }
        Environment environment = new Environment(settings.build(), home.resolve("config"));
        Node node = new Embedded(environment, plugins(classes));
        stopWithParent(node, home);
        node.start();
        var address = node.injector().getInstance(HttpServerTransport.class)
            .boundAddress().publishAddress();
        // Renamed into place: whoever waits for it never reads a part of it.
        Path arriving = home.resolve("http.addr.arriving");
        Files.writeString(arriving, address.getAddress() + ":" + address.getPort());
        Files.move(arriving, home.resolve("http.addr"), StandardCopyOption.ATOMIC_MOVE);
    }

    private static List<Object> plugins(List<Class<?>> classes) {
        boolean byInfo = Arrays.stream(Node.class.getDeclaredConstructors())
            .anyMatch(constructor -> constructor.toGenericString().contains("PluginInfo"));
        List<Object> plugins = new ArrayList<>();
        for (Class<?> plugin : classes) {
            String name = plugin.getName();
            plugins.add(byInfo
                ? new PluginInfo(name, "", "NA", Version.CURRENT, "17", name, List.of(), false)
                : plugin);
        }
        return plugins;
    }

    /**
     * The pipe closes when the test process ends, however that ends. The thread also keeps this
     * process running, since all threads of a node are daemons.
     */
    private static void stopWithParent(Node node, Path home) {
        Thread watch = new Thread(() -> {
            try (node) {
                while (System.in.read() >= 0) {
                    // Nobody has anything to say.
                }
            } catch (IOException e) {
                e.printStackTrace();
            }
            delete(home);
            System.exit(0);
        });
        watch.start();
    }

    private static void delete(Path home) {
        try (var paths = Files.walk(home)) {
            paths.sorted(Comparator.reverseOrder()).forEach(path -> path.toFile().delete());
        } catch (IOException | UncheckedIOException e) {
            // The rest stays where temporary files are.
        }
    }
}
