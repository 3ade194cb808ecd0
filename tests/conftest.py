from pack import load_pack

load_pack()
