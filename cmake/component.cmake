# add_component(layer DEPS base io [LIBS PkgA::a]): one folder under src/ is one library.
#
# DEPS names the only components it may use, LIBS its system libraries. NAME_link links the whole
# archive against DEPS alone, so that a dependency nobody declared fails the build.
# Sources are globbed: X.cc belongs to the library, X_test.cc to NAME_test, X_fuzz.cc becomes a
# fuzzer of its own (HELIUM_FUZZ), *main.cc belongs to no library: add_daemon() takes it.
function(add_component name)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "DEPS;LIBS")
  file(GLOB headers CONFIGURE_DEPENDS *.h)
  file(GLOB sources CONFIGURE_DEPENDS *.cc)
  set(tests ${sources})
  set(fuzzers ${sources})
  list(FILTER sources EXCLUDE REGEX "(_test|_fuzz|_bench|main)\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER fuzzers INCLUDE REGEX "_fuzz\\.cc$")

  if(NOT sources)
    file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/empty.cc "")
    set(sources ${CMAKE_CURRENT_BINARY_DIR}/empty.cc)
  endif()
  add_library(${name} STATIC ${sources})
  target_link_libraries(${name} PUBLIC ${ARG_DEPS} ${ARG_LIBS} project_options Threads::Threads)

  add_executable(${name}_link ${PROJECT_SOURCE_DIR}/cmake/empty_main.cc)
  target_link_libraries(${name}_link PRIVATE $<LINK_LIBRARY:WHOLE_ARCHIVE,${name}>)
  set_target_properties(${name}_link PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/link)

  if(tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE ${name} source_dir GTest::gtest GTest::gmock GTest::gtest_main)
    set_target_properties(${name}_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    add_test(NAME ${name}_test COMMAND ${name}_test)
  endif()

  if(HELIUM_FUZZ)
    foreach(fuzzer ${fuzzers})
      get_filename_component(target ${fuzzer} NAME_WE)
      if(TARGET ${target})  # two components fuzz a file of the same name
        set(target ${name}_${target})
      endif()
      add_executable(${target} ${fuzzer})
      target_link_libraries(${target} PRIVATE ${name} source_dir)
      target_compile_options(${target} PRIVATE -fsanitize=fuzzer)
      target_link_options(${target} PRIVATE -fsanitize=fuzzer)
      set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
    endforeach()
  endif()
endfunction()

# add_daemon(safekeeper main.cc DEPS safekeeper http): a program in build/bin.
function(add_daemon program source)
  cmake_parse_arguments(PARSE_ARGV 2 ARG "" "" "DEPS;LIBS")
  if(HELIUM_UNIT_ONLY OR NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${source})
    return()
  endif()
  add_executable(${program}_bin ${source})
  set_target_properties(${program}_bin PROPERTIES OUTPUT_NAME ${program})
  target_link_libraries(${program}_bin PRIVATE ${ARG_DEPS} ${ARG_LIBS})
  add_dependencies(programs ${program}_bin)
endfunction()
