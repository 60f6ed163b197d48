// The openai-go SDK, as a worker would use it.
package main

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

const question = "Good day? ✓ Grüße"

func say(value any) {
	if err := json.NewEncoder(os.Stdout).Encode(value); err != nil {
		log.Fatal(err)
	}
}

func call(name, text string, reply *http.Response) {
	ours := map[string]string{}
	for key, values := range reply.Header {
		if lower := strings.ToLower(key); strings.HasPrefix(lower, "x-headgate-") {
			ours[lower] = values[0]
		}
	}
	say(map[string]any{"call": name, "text": text, "headgate": ours})
}

func question4o() openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:     openai.ChatModelGPT4o,
		MaxTokens: openai.Int(20),
		Messages:  []openai.ChatCompletionMessageParamUnion{openai.UserMessage(question)},
	}
}

func main() {
	log.SetFlags(0)
	options := []option.RequestOption{}
	// Go never sends loopback hosts through the variables' proxy; where the host is loopback, the proxy is named here.
	if explicit := os.Getenv("EXPLICIT_PROXY"); explicit != "" {
		address, err := url.Parse(explicit)
		if err != nil {
			log.Fatal(err)
		}
		transport := &http.Transport{Proxy: http.ProxyURL(address)}
		options = append(options, option.WithHTTPClient(&http.Client{Transport: transport}))
	}
	client := openai.NewClient(options...)
	ctx := context.Background()
	for _, name := range os.Args[1:] {
		var reply *http.Response
		into := option.WithResponseInto(&reply)
		switch name {
		case "chat":
			answer, err := client.Chat.Completions.New(ctx, question4o(), into)
			if err != nil {
				log.Fatal(err)
			}
			call(name, answer.Choices[0].Message.Content, reply)
		case "embeddings":
			answer, err := client.Embeddings.New(ctx, openai.EmbeddingNewParams{
				Model: openai.EmbeddingModelTextEmbedding3Small,
				Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{question, "b"}},
			}, into)
			if err != nil {
				log.Fatal(err)
			}
			text, err := json.Marshal(answer.Data[0].Embedding)
			if err != nil {
				log.Fatal(err)
			}
			call(name, string(text), reply)
		case "audio":
			file, err := os.Open(os.Getenv("AUDIO"))
			if err != nil {
				log.Fatal(err)
			}
			answer, err := client.Audio.Transcriptions.New(ctx, openai.AudioTranscriptionNewParams{
				Model: "gpt-4o-transcribe", File: file,
			}, into)
			if err != nil {
				log.Fatal(err)
			}
			call(name, answer.Text, reply)
		case "stream":
			words := ""
			events := client.Chat.Completions.NewStreaming(ctx, question4o(), into)
			for events.Next() {
				text := events.Current().Choices[0].Delta.Content
				words += text
				say(map[string]string{"piece": text})
			}
			if err := events.Err(); err != nil {
				log.Fatal(err)
			}
			call(name, words, reply)
		default:
			log.Fatalf("no call is named %q", name)
		}
	}
}
