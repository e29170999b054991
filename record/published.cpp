// SPDX-License-Identifier: Apache-2.0
#include "record/published.hpp"

constinit mallard::Published mallard_published = {"mallard's books: 1", sizeof(mallard::Published)};
