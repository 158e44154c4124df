# How fast is a Jetson AGX Orin with each amount of memory for experts, and how much memory is enough?
# --tokens 512 keeps the example short; without it the whole trace is played where numba is installed.
simmoe run --hw jetson_orin --trace oracle --tokens 512
