// The simulation's own parts: a seed is a world, and each invariant sees the defect it is there for.
#include <gtest/gtest.h>
int placeholder;
