// Every implementation against libsodium: the input chooses the train's lengths, keys, counters, where it
// lies, how much of each plaintext is where it is sealed, and what is damaged before it is opened.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "aead_emulated.h"
#include "crypto/aead_implementations.h"

namespace {

using namespace vern;

struct Input {
    const std::uint8_t* at;
    std::size_t left;
    std::uint32_t number(std::uint32_t bound) {
        std::uint32_t value = 0;
        for (int i = 0; i < 2 && left > 0; ++i, --left) value = value << 8 | *at++;
        return value % bound;
    }
};

struct Train {
    std::byte keys[3][32];
    std::vector<std::vector<std::byte>> plain, sealed;
    std::vector<aead::SealJob> seals;
    std::vector<aead::OpenJob> opens;
};

Train train_of(Input& input) {
    Train train;
    for (auto& key : train.keys)
        for (std::byte& byte : key) byte = static_cast<std::byte>(input.number(256));
    const std::uint32_t keys = 1 + input.number(3);
    const std::size_t count = input.number(80);
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t length = input.number(2101), shift = input.number(64);
        train.plain.emplace_back(shift + length, static_cast<std::byte>(input.number(256)));
        train.sealed.emplace_back(shift + length + kTagBytes);
        const std::byte* key = train.keys[input.number(keys)];
        const std::uint64_t counter = ~std::uint64_t{0} / (1 + input.number(65536));
        const std::uint32_t front = input.number(length / 64 + 1) * 64;
        train.seals.push_back({key, counter, train.plain[i].data() + shift + front,
                               train.sealed[i].data() + shift, length, front});
        train.opens.push_back({key, counter, train.sealed[i].data() + shift, length, false});
    }
    return train;
}

void require(bool right) {
    if (!right) std::abort();
}

const std::byte* begin_of(const aead::SealJob& job) { return job.plain - job.front; }

void seal(const aead::Implementation& one, Train& train) {
    for (auto& bytes : train.sealed) std::memset(bytes.data(), 0, bytes.size());
    for (const aead::SealJob& job : train.seals)
        if (job.front > 0) std::memcpy(job.sealed, begin_of(job), job.front);
    one.seal(train.seals);
}

void check(const aead::Implementation& one, Train& train, std::size_t damaged, std::uint32_t where) {
    seal(aead::kLibsodium, train);
    const auto expected = train.sealed;
    seal(one, train);
    require(train.sealed == expected);
    if (train.opens.empty()) return;
    aead::OpenJob& victim = train.opens[damaged % train.opens.size()];
    victim.sealed[where % (victim.length + kTagBytes)] ^= std::byte{0x20};
    one.open(train.opens);
    for (std::size_t i = 0; i < train.opens.size(); ++i) {
        const aead::OpenJob& job = train.opens[i];
        const std::vector<std::byte> zeros(job.length);
        require(job.authentic == (&job != &victim));
        require(job.length == 0 ||
                std::memcmp(job.sealed, job.authentic ? begin_of(train.seals[i]) : zeros.data(),
                            job.length) == 0);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input{data, size};
    const std::uint32_t damaged = input.number(80), where = input.number(65536);
    Train train = train_of(input);
    for (const auto* one : aead::implementations())
        if (one->supported()) check(*one, train, damaged, where);
    for (const auto* one : {&aead::kEmulatedAvx512IfmaX2, &aead::kEmulatedAvx512Ifma, &aead::kEmulatedAvx512,
                            &aead::kEmulatedAvx2})
        check(*one, train, damaged, where);
    return 0;
}
