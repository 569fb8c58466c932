// ChaCha20-Poly1305 by the train: every implementation of this build, and intel-ipsec-mb's job API, on the
// same messages in turns, so that a busy neighbour slows all alike. After Google Benchmark's own report a
// table gives the median cycles (time stamp counter) per message and the ratios. Figures of two runs may not
// be compared.
#include <benchmark/benchmark.h>
#include <sodium.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif
#ifdef VERN_HAVE_IPSEC_MB
#include <intel-ipsec-mb.h>
#endif

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "crypto/aead.h"

namespace vern::aead {
namespace {

std::uint64_t ticks() noexcept {
#if defined(__x86_64__)
    return __rdtsc();
#else
    return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
#endif
}

struct Shape {
    const char* name;
    std::vector<std::uint32_t> lengths;
    bool many_keys = false;
};

std::vector<std::uint32_t> repeated(std::size_t count, std::vector<std::uint32_t> pattern) {
    std::vector<std::uint32_t> lengths;
    for (std::size_t i = 0; i < count; ++i) lengths.push_back(pattern[i % pattern.size()]);
    return lengths;
}

std::vector<Shape> shapes() {
    std::vector<std::uint32_t> last_segments = repeated(32, {1424});
    for (std::size_t i = 7; i < last_segments.size(); i += 8)
        last_segments[i] = static_cast<std::uint32_t>(160 * (i / 8) + 80);
    return {{"32 x 1424", repeated(32, {1424})},
            {"32 x 64", repeated(32, {64})},
            {"1 x 1424", {1424}},
            {"1 x 64", {64}},
            {"8 x 1424", repeated(8, {1424})},
            {"32, half ACKs of 64", repeated(32, {1424, 64})},
            {"32, last segments", last_segments},
            {"32 of 0 to 1424", repeated(32, {0, 1424, 576, 96, 1280, 240, 64, 800, 1376, 32})},
            {"32 x 1424, 32 keys", repeated(32, {1424}), true},
            {"32 x 64, 32 keys", repeated(32, {64}), true}};
}

// One message behind the other, as segmentation offload wants them, with a header in front and a tag behind.
struct Train {
    static constexpr std::size_t kHeaderBytes = 16, kTagBytes = 16;
    std::vector<std::array<std::byte, 32>> keys;
    std::vector<std::byte> plain, sealed, original;
    std::vector<SealJob> seals;
    std::vector<OpenJob> opens;

    explicit Train(const Shape& shape) : keys(shape.many_keys ? shape.lengths.size() : 1) {
        randombytes_buf(keys.data(), keys.size() * 32);
        std::vector<std::size_t> places;
        std::size_t bytes = 0;
        for (const std::uint32_t length : shape.lengths) {
            places.push_back(bytes + kHeaderBytes);
            bytes += kHeaderBytes + length + kTagBytes;
        }
        plain.resize(bytes);
        sealed.resize(bytes);
        for (std::size_t i = 0; i < shape.lengths.size(); ++i) {
            const std::size_t at = places[i];
            const std::byte* key = keys[i % keys.size()].data();
            seals.push_back({key, i, &plain[at], &sealed[at], shape.lengths[i]});
            opens.push_back({key, i, &sealed[at], shape.lengths[i], false});
        }
        find("libsodium")->seal(seals);
        original = sealed;
    }
    void restore() { std::copy(original.begin(), original.end(), sealed.begin()); }
};

struct Contender {
    std::string name;
    std::function<void(Train&)> seal, open;
};

#ifdef VERN_HAVE_IPSEC_MB
// A whole train is submitted, then what is left is flushed.
class IpsecMb {
  public:
    IpsecMb() : manager_(alloc_mb_mgr(0)) { init_mb_mgr_auto(manager_, nullptr); }
    IpsecMb(const IpsecMb&) = delete;
    IpsecMb& operator=(const IpsecMb&) = delete;
    ~IpsecMb() { free_mb_mgr(manager_); }

    template <class Job>
    void run(std::span<Job> train, bool sealing) {
        nonces_.resize(train.size());
        tags_.resize(train.size());
        for (std::size_t i = 0; i < train.size(); ++i) submit(train[i], i, sealing);
        while (IMB_JOB* done = IMB_FLUSH_JOB(manager_)) finish(done);
        for (std::size_t i = 0; i < train.size(); ++i) settle(train[i], i);
    }

  private:
    static const std::byte* source(const SealJob& job) { return job.plain; }
    static const std::byte* source(const OpenJob& job) { return job.sealed; }
    static void* tag(const SealJob& job, void*) { return job.sealed + job.length; }
    static void* tag(const OpenJob&, void* made) { return made; }
    void settle(const SealJob&, std::size_t) {}
    void settle(OpenJob& job, std::size_t i) {
        job.authentic = sodium_memcmp(job.sealed + job.length, tags_[i].data(), 16) == 0;
    }
    template <class Job>
    void submit(Job& message, std::size_t i, bool sealing) {
        nonces_[i] = {};
        std::memcpy(nonces_[i].data() + 4, &message.counter, 8);
        IMB_JOB* const job = IMB_GET_NEXT_JOB(manager_);
        std::memset(job, 0, sizeof *job);
        job->cipher_direction = sealing ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
        job->chain_order = sealing ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
        job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
        job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
        job->enc_keys = job->dec_keys = message.key;
        job->key_len_in_bytes = 32;
        job->iv = nonces_[i].data();
        job->iv_len_in_bytes = 12;
        job->src = reinterpret_cast<const std::uint8_t*>(source(message));
        job->dst = reinterpret_cast<std::uint8_t*>(message.sealed);
        job->msg_len_to_cipher_in_bytes = job->msg_len_to_hash_in_bytes = message.length;
        job->auth_tag_output = static_cast<std::uint8_t*>(tag(message, tags_[i].data()));
        job->auth_tag_output_len_in_bytes = 16;
        job->u.CHACHA20_POLY1305.aad = nonces_[i].data();
        for (IMB_JOB* done = IMB_SUBMIT_JOB(manager_); done; done = IMB_GET_COMPLETED_JOB(manager_))
            finish(done);
    }
    static void finish(const IMB_JOB* job) {
        if (job->status != IMB_STATUS_COMPLETED) std::abort();
    }

    IMB_MGR* manager_;
    std::vector<std::array<std::uint8_t, 12>> nonces_;
    std::vector<std::array<std::uint8_t, 16>> tags_;
};
#endif

std::vector<Contender> contenders() {
    std::vector<Contender> all;
    for (const Implementation* one : implementations())
        if (one->supported())
            all.push_back({std::string(one->name), [one](Train& train) { one->seal(train.seals); },
                           [one](Train& train) { one->open(train.opens); }});
#ifdef VERN_HAVE_IPSEC_MB
    auto ipsec = std::make_shared<IpsecMb>();
    all.push_back({"ipsec-mb", [ipsec](Train& train) { ipsec->run(std::span(train.seals), true); },
                   [ipsec](Train& train) { ipsec->run(std::span(train.opens), false); }});
#else
    std::printf("intel-ipsec-mb was not there when this was built: no comparison with it.\n");
#endif
    return all;
}

using Figures = std::map<std::string, std::vector<double>>;

// One repetition: every contender seals and opens the train once, timed by itself. The restoring copies warm
// the cache for all alike and are not in the figures.
void repetition(Train& train, const std::vector<Contender>& all, Figures& seals, Figures& opens) {
    const auto count = static_cast<double>(train.seals.size());
    for (const Contender& one : all) {
        one.seal(train);
        std::uint64_t begin = ticks();
        one.seal(train);
        seals[one.name].push_back(static_cast<double>(ticks() - begin) / count);
        if (train.sealed != train.original) std::abort();
        one.open(train);
        train.restore();
        begin = ticks();
        one.open(train);
        opens[one.name].push_back(static_cast<double>(ticks() - begin) / count);
        for (const OpenJob& job : train.opens)
            if (!job.authentic) std::abort();
        train.restore();
    }
}

double median(std::vector<double>& values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

void print(const Shape& shape, const char* what, Figures& figures) {
    double bytes = 0;
    for (const std::uint32_t length : shape.lengths) bytes += length;
    bytes /= static_cast<double>(shape.lengths.size());
    const double evp = median(figures["openssl"]);
    const double ipsec = figures.contains("ipsec-mb") ? median(figures["ipsec-mb"]) : 0;
    for (auto& [name, values] : figures) {
        const double cycles = median(values);
        std::printf("%-20s %-5s %-12s %9.0f %9.2f %8.2f", shape.name, what, name.c_str(), cycles,
                    cycles / bytes, evp / cycles);
        if (ipsec > 0) std::printf(" %8.2f", ipsec / cycles);
        std::printf("\n");
    }
}

void table(std::size_t repetitions) {
    const auto all = contenders();
    std::printf("\n%-20s %-5s %-12s %9s %9s %8s %8s\n", "train", "", "", "TSC/msg", "TSC/byte", "x EVP",
                "x ipsec");
    for (const Shape& shape : shapes()) {
        Train train(shape);
        Figures seals, opens;
        for (std::size_t i = 0; i < repetitions; ++i) repetition(train, all, seals, opens);
        print(shape, "seal", seals);
        print(shape, "open", opens);
    }
}

void register_all() {
    static const auto all = contenders();
    static const auto forms = shapes();
    for (const Contender& one : all)
        for (const Shape& shape : forms)
            benchmark::RegisterBenchmark(
                (std::string("seal/") + one.name + "/" + shape.name).c_str(), [&](benchmark::State& state) {
                    Train train(shape);
                    for (auto _ : state) one.seal(train);
                    state.SetItemsProcessed(state.iterations() *
                                            static_cast<std::int64_t>(train.seals.size()));
                });
}

}  // namespace
}  // namespace vern::aead

int main(int argc, char** argv) {
    if (sodium_init() < 0) return 1;
    std::size_t repetitions = 2000;
    if (argc > 1 && std::strncmp(argv[1], "--table=", 8) == 0) {
        repetitions = std::strtoul(argv[1] + 8, nullptr, 10);
    } else {
        vern::aead::register_all();
        benchmark::Initialize(&argc, argv);
        benchmark::RunSpecifiedBenchmarks();
    }
    vern::aead::table(repetitions);
}
