# layers.awk: the text of `netc emit --as=graph` becomes the list of layers that the peers read:
#   input C H W | conv OC KH KW SH SW TOP BOTTOM LEFT RIGHT GROUPS | dense N | relu | tanh
#   maxpool|avgpool KH KW SH SW TOP LEFT OH OW | lrn SIZE ALPHA BETA K   (alpha per sum, not per map)
function attr(name, fallback,    at, text) {
    at = match($0, "[{ ]" name "=[^,} ]*(,[0-9]+)*")
    if (!at)
        return fallback
    text = substr($0, at + length(name) + 2, RLENGTH - length(name) - 2)
    gsub(/[x,]/, " ", text)
    return text
}
# The extents of the first result: "96 27 27".
function extents(    text) {
    text = $0
    sub(/.*: f32\[/, "", text)
    sub(/\].*/, "", text)
    gsub(/,/, " ", text)
    return text
}
/= load_input\(/ { print "input " extents() }
/= conv\(/ {
    print "conv " attr("maps") " " attr("kernel") " " attr("stride", "1 1") " " \
        attr("pad", "0 0 0 0") " " attr("groups", 1)
}
/= dense\(/ { print "dense " attr("units") }
/= relu\(/ { print "relu" }
/= tanh\(/ { print "tanh" }
/= (max|avg)pool\(/ {
    split(attr("pad", "0 0 0 0"), pad, " ")
    split(extents(), size, " ")
    print (/= maxpool/ ? "maxpool " : "avgpool ") attr("kernel") " " \
        attr("stride", attr("kernel")) " " pad[1] " " pad[3] " " size[2] " " size[3]
}
/= lrn\(/ {
    print "lrn " attr("size", 5) " " attr("alpha", "0.0001") " " attr("beta", "0.75") " " attr("k", 2)
}
