/* See float_lanes.h. */
#undef FLOATS
#undef INTS
#undef LANE
#undef YES
#undef AS_FLOATS
#undef AS_INTS
#undef ALL
#undef PICK
#undef LANES
#undef NAME
