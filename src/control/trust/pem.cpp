#include "control/trust/pem.h"

#include <openssl/pem.h>

#include <climits>

#include "control/trust/openssl_handles.h"

namespace vern::trust {
Verdict<std::vector<PemBlock>> read_pem(std::string_view text, std::size_t blocks_max,
                                        std::string_view what) {
    const ErrorQueueScope scope;
    if (text.size() > INT_MAX) return refuse(Refusal::too_large, std::string(what) + ": too large");
    if (text.empty()) return std::vector<PemBlock>{};
    const BioPtr bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
    std::vector<PemBlock> blocks;
    while (bio) {
        char *label = nullptr, *header = nullptr;
        unsigned char* data = nullptr;
        long size = 0;
        if (PEM_read_bio(bio.get(), &label, &header, &data, &size) != 1) {
            if (ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE) return blocks;
            return refuse(Refusal::malformed, std::string(what) + ": a PEM block cannot be read");
        }
        const OpensslMemory<char> label_owner(label), header_owner(header);
        const OpensslMemory<unsigned char> data_owner(data);
        if (*header != '\0')
            return refuse(Refusal::malformed, std::string(what) + ": a PEM block has headers");
        if (blocks.size() == blocks_max)
            return refuse(Refusal::too_large,
                          std::string(what) + ": more than " + std::to_string(blocks_max) + " PEM blocks");
        blocks.push_back({label, {reinterpret_cast<const char*>(data), static_cast<std::size_t>(size)}});
    }
    return refuse(Refusal::malformed, std::string(what) + ": no memory to read it");
}

}  // namespace vern::trust
