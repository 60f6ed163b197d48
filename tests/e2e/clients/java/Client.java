// Java's own HttpClient in its default settings: over plain HTTP it offers an upgrade to h2c with its first request.

import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public final class Client {
    private static final String BASE = System.getenv("OPENAI_BASE_URL");
    private static final String CHAT =
            "{\"model\": \"gpt-4o\", \"messages\": [{\"role\": \"user\", \"content\": \"Good day? \u2713 Gr\u00fc\u00dfe\"}]%s}";

    public static void main(String[] names) throws Exception {
        HttpClient client = client();
        for (String name : names) {
            switch (name) {
                case "models" -> whole(client, name, request("/models").GET().build());
                case "chat" -> whole(client, name, chat(""));
                case "stream" -> stream(client, chat(", \"stream\": true"));
                default -> throw new IllegalArgumentException(name);
            }
        }
    }

    private static HttpClient client() throws Exception {
        HttpClient.Builder builder = HttpClient.newBuilder();
        // Java reads neither the proxy nor the CA from the environment: the program does.
        String proxy = System.getenv("EXPLICIT_PROXY");
        if (proxy != null) {
            URI uri = URI.create(proxy);
            builder.proxy(ProxySelector.of(new InetSocketAddress(uri.getHost(), uri.getPort())));
        }
        KeyStore roots = KeyStore.getInstance(KeyStore.getDefaultType());
        roots.load(null, null);
        try (InputStream pem = Files.newInputStream(Path.of(System.getenv("SSL_CERT_FILE")))) {
            int number = 0;
            for (Certificate root : CertificateFactory.getInstance("X.509").generateCertificates(pem)) {
                roots.setCertificateEntry("root" + number++, root);
            }
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(roots);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return builder.sslContext(context).build();
    }

    private static HttpRequest.Builder request(String path) {
        return HttpRequest.newBuilder(URI.create(BASE + path))
                .header("Authorization", "Bearer " + System.getenv("OPENAI_API_KEY"));
    }

    private static HttpRequest chat(String more) {
        return request("/chat/completions")
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(CHAT.formatted(more), StandardCharsets.UTF_8))
                .build();
    }

    private static void whole(HttpClient client, String name, HttpRequest request) throws Exception {
        HttpResponse<String> reply = client.send(request, HttpResponse.BodyHandlers.ofString());
        check(reply);
        call(name, reply.body(), reply);
    }

    private static void stream(HttpClient client, HttpRequest request) throws Exception {
        HttpResponse<Stream<String>> reply = client.send(request, HttpResponse.BodyHandlers.ofLines());
        check(reply);
        StringBuilder all = new StringBuilder();
        reply.body().filter(line -> line.startsWith("data: ") && !line.startsWith("data: [DONE]")).forEach(line -> {
            all.append(line);
            System.out.println("{\"piece\": " + quoted(line) + "}");
        });
        call("stream", all.toString(), reply);
    }

    private static void check(HttpResponse<?> reply) {
        if (reply.statusCode() != 200) {
            throw new IllegalStateException("status " + reply.statusCode());
        }
    }

    private static void call(String name, String text, HttpResponse<?> reply) {
        String ours = reply.headers().map().entrySet().stream()
                .filter(header -> header.getKey().toLowerCase().startsWith("x-headgate-"))
                .map(header -> quoted(header.getKey().toLowerCase()) + ": " + quoted(first(header)))
                .collect(Collectors.joining(", ", "{", "}"));
        System.out.println("{\"call\": " + quoted(name) + ", \"text\": " + quoted(text) + ", \"headgate\": " + ours + "}");
    }

    private static String first(Map.Entry<String, List<String>> header) {
        return header.getValue().get(0);
    }

    private static String quoted(String text) {
        return "\"" + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n") + "\"";
    }
}
