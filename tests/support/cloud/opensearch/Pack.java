import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.jar.JarEntry;
import java.util.jar.JarOutputStream;

/** {@code Pack FOLDER JAR}: the class files of a folder as a jar, where there is no JDK to do it. */
public final class Pack {
    public static void main(String[] arguments) throws IOException {
        Path folder = Path.of(arguments[0]);
        try (var jar = new JarOutputStream(Files.newOutputStream(Path.of(arguments[1])));
                var files = Files.list(folder)) {
            for (Path file : (Iterable<Path>) files.sorted()::iterator) {
                jar.putNextEntry(new JarEntry(file.getFileName().toString()));
                Files.copy(file, jar);
            }
        }
    }
}
