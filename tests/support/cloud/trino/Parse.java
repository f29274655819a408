import java.lang.reflect.InvocationTargetException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * {@code Parse FILE...}: prints a line for each file that Trino's parser refuses. By reflection, since
 * the compiler does not read classes of a newer Java than its own.
 */
public final class Parse {
    public static void main(String[] files) throws Exception {
        Object parser = Class.forName("io.trino.sql.parser.SqlParser").getConstructor().newInstance();
        var parse = parser.getClass().getMethod("createStatement", String.class);
        for (String file : files) {
            try {
                parse.invoke(parser, Files.readString(Path.of(file)));
            } catch (InvocationTargetException e) {
                String why = String.valueOf(e.getCause()).replace('\n', ' ');
                System.out.println(file + ": " + why);
            }
        }
    }
}
