# bytes.cmake: writes the bytes of FROM to TO as numbers of a C array.
file(READ ${FROM} hex HEX)
string(REGEX REPLACE "(..)" "0x\\1," hex "${hex}")
string(REGEX REPLACE "(................................................................................)" "\\1\n" hex "${hex}")
file(WRITE ${TO} "${hex}\n")
