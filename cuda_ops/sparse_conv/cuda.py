def sparse_conv(*a): return None
def weight_grad(*a): return None
