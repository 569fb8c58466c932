// The answer to a proof, a CA or a list that is refused: its stable code, and its sentence.
#pragma once

#include "control/api/message.h"
#include "control/trust/refusal.h"

namespace vern::api {

inline Response refusal_response(const trust::Refused& refused, unsigned status) {
    return error_response(status, trust::refusal_code(refused.code), refused.sentence);
}

}  // namespace vern::api
