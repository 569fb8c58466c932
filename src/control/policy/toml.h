// toml++, the same way in every file: header only, no exceptions.
#pragma once

#define TOML_HEADER_ONLY 1
// Its assertions would end the daemon over a malformed file ("[=" is enough); the checks behind them answer
// with an error.
#define TOML_ASSERT(expression) static_cast<void>(0)
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>
