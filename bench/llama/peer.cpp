// llama.cpp through its public interface, measured as `engine -- speed-file` measures ours: prompt
// tokens per second, then answer tokens per second for several numbers of sequences side by side.
//
//   peer FILE.gguf THREADS ROUNDS PROMPT CONTEXT ANSWER BATCH,BATCH,… SHARED
//
// SHARED tokens are computed once and belong to all sequences of a batch, as its server shares a system prompt.
// Prints one JSON line. Model calls alone are timed, in wall time and in processor time of the process.
#include "llama.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <sstream>
#include <string>
#include <vector>

struct Cost { double wall = 0, processor = 0; };

static double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

static double processor() {
    timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

// Computes `len` tokens from `start` on for each of `sequences`; logits of the last one of each.
static Cost run(llama_context * context, int sequences, int start, int len) {
    llama_batch batch = llama_batch_init(sequences * len, 0, 1);
    for (int s = 0; s < sequences; s++) {
        for (int i = 0; i < len; i++) {
            int at = batch.n_tokens++;
            batch.token[at] = (s * 31 + (start + i) * 7) % 256;
            batch.pos[at] = start + i;
            batch.n_seq_id[at] = 1;
            batch.seq_id[at][0] = s;
            batch.logits[at] = i + 1 == len;
        }
    }
    double wall = now(), cpu = processor();
    if (llama_decode(context, batch) != 0) { fprintf(stderr, "decode failed\n"); exit(1); }
    llama_synchronize(context);
    Cost cost{now() - wall, processor() - cpu};
    llama_batch_free(batch);
    return cost;
}

static void quiet(ggml_log_level level, const char * text, void *) {
    if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

static double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

int main(int argc, char ** argv) {
    if (argc != 9) { fprintf(stderr, "usage: peer FILE THREADS ROUNDS PROMPT CONTEXT ANSWER BATCHES SHARED\n"); return 2; }
    const int threads = atoi(argv[2]), rounds = atoi(argv[3]);
    const int prompt = atoi(argv[4]), context_tokens = atoi(argv[5]), answer = atoi(argv[6]), shared = atoi(argv[8]);
    std::vector<int> batches;
    std::stringstream list(argv[7]);
    for (std::string item; std::getline(list, item, ',');) batches.push_back(atoi(item.c_str()));
    const int widest = *std::max_element(batches.begin(), batches.end());

    llama_log_set(quiet, nullptr);
    llama_backend_init();
    llama_model * model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (!model) { fprintf(stderr, "the file cannot be loaded\n"); return 1; }
    llama_context_params params = llama_context_default_params();
    params.n_ctx = std::max(prompt, shared + widest * (context_tokens + answer + 8)) + 64;
    params.n_batch = params.n_ctx;
    params.n_ubatch = 512;
    params.n_seq_max = widest;
    params.kv_unified = true;
    params.n_threads = params.n_threads_batch = threads;
    llama_context * context = llama_init_from_model(model, params);
    if (!context) { fprintf(stderr, "no context\n"); return 1; }

    std::vector<int> what;
    if (prompt > 0) what.push_back(0);
    what.insert(what.end(), batches.begin(), batches.end());
    std::vector<std::vector<double>> wall(what.size()), cpu(what.size());
    for (int round = 0; round < rounds; round++) {
        for (size_t i = 0; i < what.size(); i++) {
            llama_memory_clear(llama_get_memory(context), true);
            Cost total;
            int tokens = prompt;
            if (what[i] == 0) {
                total = run(context, 1, 0, prompt);
            } else {
                if (shared > 0) run(context, 1, 0, shared);
                for (int s = 1; s < what[i] && shared > 0; s++) {
                    llama_memory_seq_cp(llama_get_memory(context), 0, s, -1, -1);
                }
                run(context, what[i], shared, context_tokens);
                for (int step = 0; step < answer; step++) {
                    Cost cost = run(context, what[i], shared + context_tokens + step, 1);
                    total.wall += cost.wall;
                    total.processor += cost.processor;
                }
                tokens = what[i] * answer;
            }
            wall[i].push_back(tokens / total.wall);
            cpu[i].push_back(tokens / total.processor);
        }
    }
    printf("[{\"model\":\"llama.cpp\",\"threads\":%d,\"rates\":[", threads);
    for (size_t i = 0; i < what.size(); i++) {
        std::string name = what[i] == 0 ? "prompt" : std::to_string(what[i]);
        printf("%s{\"what\":\"%s\",\"median\":%.3f,\"best\":%.3f,\"per_processor_second\":%.3f}", i ? "," : "",
            name.c_str(), median(wall[i]), *std::max_element(wall[i].begin(), wall[i].end()), median(cpu[i]));
    }
    printf("]}]\n");
    llama_free(context);
    llama_model_free(model);
    return 0;
}
