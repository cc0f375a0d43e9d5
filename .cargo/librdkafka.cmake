# CMake's own release flags end with -DNDEBUG, which takes librdkafka's assertions out; its configure
# script keeps them. A damaged batch must end the process rather than be read beyond its end.
set(CMAKE_C_FLAGS_RELEASE "-O3" CACHE STRING "without -DNDEBUG")
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g" CACHE STRING "without -DNDEBUG")
