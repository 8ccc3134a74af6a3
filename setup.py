from setuptools import Extension, setup

LANES = ("nw_fill", "nw_scan", "row_jsd", "edit_band", "soft_align")  # compiled once for each instruction set
KERNELS = (*LANES, "kmer_index")
HEADERS = [*KERNELS, *(f"{kernel}_lanes" for kernel in LANES), "float_lanes", "float_lanes_end"]

setup(
    ext_modules=[
        Extension(
            "nwa_lightning._nw",
            sources=["src_ext/_nw.pyx", *(f"src_ext/{kernel}.c" for kernel in KERNELS)],
            depends=[f"src_ext/{name}.h" for name in HEADERS],
            extra_compile_args=["-O3"],
        )
    ]
)
