// SPDX-License-Identifier: Apache-2.0
// Calls on another stack. A port keeps every register that a function must preserve, and describes the frame
// to unwinders in such a way that they walk from the new stack to the old one.
#pragma once

extern "C" {
/// Calls function(argument) with the stack at `top`. \param way_out  receives, before the call, what
/// mallard_leave_stack() needs to end it from any depth
void mallard_call_on_stack(void (*function)(void*), void* argument, void* top, void** way_out) noexcept;
/// Returns from that call at once. Nothing that it holds is destroyed.
[[noreturn]] void mallard_leave_stack(void* way_out) noexcept;
}
