// What the tests ask of llama.cpp, through its public interface:
//   driver time MODEL THREADS PROMPT NUMBER REPEATS    for each repeat three times in seconds: of reading PROMPT tokens, of NUMBER single
//                                                      tokens behind nothing, and of NUMBER single tokens behind the prompt
//   driver routing MODEL THREADS PROMPT               for each MoE layer: how many of the tokens chose each of its experts
// Tokens are drawn evenly from the vocabulary, and the context is llama.cpp's default but for its length.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "ggml-backend.h"
#include "ggml.h"
#include "llama.h"

using tokens = std::vector<llama_token>;

static const char CHOSEN[] = "ffn_moe_topk-";  // begins the name of the tensor that holds the chosen experts of one layer
static std::map<int, std::map<int, int>> counts;

// The first call asks whether a tensor is wanted, the second one comes when it is computed. Its rows are parts of longer ones.
static bool count(ggml_tensor * tensor, bool asked, void *) {
    const bool wanted = std::strncmp(tensor->name, CHOSEN, sizeof CHOSEN - 1) == 0;
    if (asked || !wanted) {
        return wanted;
    }
    std::vector<int32_t> row(tensor->ne[0]);
    for (int64_t token = 0; token < tensor->ne[1]; token++) {
        ggml_backend_tensor_get(tensor, row.data(), token * tensor->nb[1], row.size() * sizeof row[0]);
        for (const int32_t expert : row) {
            counts[std::atoi(tensor->name + sizeof CHOSEN - 1)][expert]++;
        }
    }
    return true;
}

static llama_context * context_of(llama_model * model, int positions, int threads, ggml_backend_sched_eval_callback seen) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = positions;
    params.n_threads = params.n_threads_batch = threads;
    params.cb_eval = seen;
    llama_context * made = llama_init_from_model(model, params);
    if (!made) {
        throw std::runtime_error("llama.cpp made no context");
    }
    return made;
}

static tokens draw(const llama_model * model, int number) {
    static std::mt19937 drawn(0);
    tokens found(number);
    for (llama_token & token : found) {
        token = drawn() % llama_vocab_n_tokens(llama_model_get_vocab(model));
    }
    return found;
}

static void read(llama_context * context, llama_token * first, int number) {
    if (llama_decode(context, llama_batch_get_one(first, number))) {
        throw std::runtime_error("llama.cpp decoded nothing");
    }
    llama_synchronize(context);
}

static double seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

static void forget(llama_context * context) {
    llama_memory_clear(llama_get_memory(context), true);
}

static double generate(llama_context * context, tokens some) {
    const double begin = seconds();
    for (llama_token & token : some) {
        read(context, &token, 1);
    }
    return seconds() - begin;
}

static void time_it(llama_model * model, int threads, int prompt, int number, int repeats) {
    llama_context * context = context_of(model, prompt + number, threads, nullptr);
    for (int repeat = -1; repeat < repeats; repeat++) {  // the first one warms up
        forget(context);
        const double first = generate(context, draw(model, number));
        forget(context);
        tokens some = draw(model, prompt);
        const double begin = seconds();
        read(context, some.data(), prompt);
        const double reading = seconds() - begin;
        const double behind = generate(context, draw(model, number));
        if (repeat >= 0) {
            std::printf("%.6f %.6f %.6f\n", reading, first, behind);
        }
    }
    llama_free(context);
}

static void count_it(llama_model * model, int threads, int prompt) {
    llama_context * context = context_of(model, prompt, threads, count);
    tokens some = draw(model, prompt);
    read(context, some.data(), prompt);
    for (const auto & [layer, chosen] : counts) {
        std::printf("%d", layer);
        for (const auto & [expert, number] : chosen) {
            std::printf(" %d:%d", expert, number);
        }
        std::printf("\n");
    }
    llama_free(context);
}

int main(int argc, char ** argv) {
    const std::string what = argc > 1 ? argv[1] : "";
    if (!(what == "time" && argc == 7) && !(what == "routing" && argc == 5)) {
        return 2;
    }
    llama_log_set([](ggml_log_level level, const char * text, void *) {
        if (level == GGML_LOG_LEVEL_ERROR) {
            std::fputs(text, stderr);
        }
    }, nullptr);
    llama_backend_init();
    llama_model * model = llama_model_load_from_file(argv[2], llama_model_default_params());
    if (!model) {
        return 1;
    }
    if (what == "time") {
        time_it(model, std::atoi(argv[3]), std::atoi(argv[4]), std::atoi(argv[5]), std::atoi(argv[6]));
    } else {
        count_it(model, std::atoi(argv[3]), std::atoi(argv[4]));
    }
    llama_model_free(model);
}
